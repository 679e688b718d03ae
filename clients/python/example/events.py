"""The event store: append safely, read, and subscribe where one was."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.protobuf import empty_pb2
from eventstore.v1 import event_pb2, event_store_pb2, event_store_pb2_grpc

from . import channel
from .channel import Failure, say


async def append(topic: str, kind: str, prefix: str | None) -> None:
    """Appends each line of standard input as an event.

    Ids are chosen before the first try, so each retry is stored once. With the same prefix even
    running the program again is a retry.
    """
    prefix = prefix or str(uuid.uuid4())
    async with channel.event_store() as connection:
        store = event_store_pb2_grpc.EventStoreStub(connection)
        number = 0
        async for line in lines():
            number += 1
            event = event_pb2.Event(
                id=f"{prefix}-{number}", type=kind, source="python", subject=prefix, text_data=line
            )
            request = event_store_pb2.AppendRequest(topic=topic, events=[event])
            answer = await channel.retrying(
                event.id, lambda: store.Append(request, timeout=channel.DEADLINE)
            )
            say(
                appended=event.id,
                sequence=answer.first_sequence,
                position=answer.last_position,
                deduplicated=answer.deduplicated,
                durability=durability(answer.durability),
            )


def durability(value: int) -> str:
    """A newer service may answer with a value that these stubs have no name for."""
    known = event_pb2.Durability.values()
    return event_pb2.Durability.Name(value) if value in known else f"DURABILITY_{value}"


async def lines() -> AsyncIterator[str]:
    """Lines of standard input, as they come."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.rstrip("\n")


async def read(topic: str, subject: str | None) -> None:
    """Prints the events that are there: of a topic, or of one of its subjects."""
    async with channel.event_store() as connection:
        store = event_store_pb2_grpc.EventStoreStub(connection)
        request = event_store_pb2.ReadRequest(topic=topic, subject=subject)
        async for answer in store.Read(request, timeout=channel.PATIENCE):
            show(answer.event)


def show(recorded: event_pb2.RecordedEvent) -> None:
    event = recorded.event
    say(
        sequence=recorded.sequence,
        position=recorded.position,
        id=event.id,
        type=event.type,
        text=event.text_data,
    )


class Progress:
    """The position of the last event that was handled, kept in a file.

    Kept in the same transaction as what a handler writes, it makes each event count exactly once.
    """

    def __init__(self, file: str | None) -> None:
        self._file = Path(file) if file else None
        kept = self._file is not None and self._file.exists()
        self.position: str | None = self._file.read_text().strip() if self._file and kept else None

    def move(self, position: str | None) -> None:
        self.position = position
        if self._file is not None:
            beside = self._file.with_suffix(".new")
            beside.write_text(position or "")
            os.replace(beside, self._file)

    def start(self) -> event_pb2.Start:
        if self.position:
            return event_pb2.Start(after_position=self.position)
        return event_pb2.Start(beginning=empty_pb2.Empty())


async def subscribe(topic: str, file: str | None, stop: asyncio.Event) -> None:
    """Prints events as they come, and goes on where it was whenever the stream breaks."""
    progress = Progress(file)
    async with channel.event_store() as connection:
        store = event_store_pb2_grpc.EventStoreStub(connection)
        waits = channel.pauses()
        while not stop.is_set():
            before = progress.position
            try:
                await follow(store, topic, progress, stop)
            except grpc.aio.AioRpcError as error:
                failure = Failure(error)
                if failure.reason in {"POSITION_TRIMMED", "POSITION_BEYOND_HEAD"}:
                    # Trimmed: events were missed, retention has removed them. Beyond the head: the
                    # topic lost its end, and what stands there now may be new. In both cases what
                    # was built from the events is to be built again, from what there is.
                    say(starting_over=failure.reason, metadata=failure.metadata)
                    progress.move(None)
                elif failure.is_transient():
                    say(resuming=progress.position, reason=failure.name())
                else:
                    raise
            if progress.position != before:
                waits = channel.pauses()
            if not stop.is_set():
                await anext(waits)
    say(stopped=True)


async def follow(
    store: event_store_pb2_grpc.EventStoreStub, topic: str, progress: Progress, stop: asyncio.Event
) -> None:
    starts = [event_store_pb2.TopicStart(topic=topic, start=progress.start())]
    # No deadline: it lasts. Keepalive tells when nobody is there any more.
    stream = store.Subscribe(event_store_pb2.SubscribeRequest(topics=starts))
    stopping = asyncio.create_task(stop.wait())
    stopping.add_done_callback(lambda _: stream.cancel())
    try:
        async for answer in stream:
            # None for a kind of message that these stubs do not know yet.
            match answer.WhichOneof("message"):
                case "event":
                    show(answer.event)
                    progress.move(answer.event.position)
                case "caught_up":
                    say(caught_up=answer.caught_up.topic)
                case "heartbeat":
                    here = answer.heartbeat.topics[0]
                    if here.HasField("position"):
                        progress.move(here.position)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        stopping.cancel()
