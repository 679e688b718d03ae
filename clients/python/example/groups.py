"""Consumer groups: take events, ack what is done, nack what failed, and stop without losing any."""

import asyncio
from collections import OrderedDict

import grpc
from eventstore.v1 import consumer_groups_pb2 as pb
from eventstore.v1 import consumer_groups_pb2_grpc, event_pb2

from . import channel
from .channel import say


class Refused(Exception):
    """An event that will never be handled."""


def handle(event: event_pb2.Event, delivery_count: int) -> None:
    """What a consumer is for. Here: two types fail, so that one sees what happens then."""
    if event.type == "poison":
        raise Refused("it is of a type that nobody can handle")
    if event.type == "flaky" and delivery_count == 1:
        raise RuntimeError("it fails the first time")


class Handled:
    """The events that were handled last.

    An event whose ack was lost is delivered again: a handler has to recognise it. One that writes
    to a database keeps the ids there, in the same transaction.
    """

    LIMIT = 10_000

    def __init__(self) -> None:
        self._sequences: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._sequences

    def add(self, sequence: int) -> None:
        self._sequences[sequence] = None
        if len(self._sequences) > self.LIMIT:
            self._sequences.popitem(last=False)


async def consume(topic: str, group: str, consumer: str, stop: asyncio.Event) -> None:
    """Handles the events of a group until it is told to stop."""
    handled = Handled()
    async with channel.event_store() as connection:
        groups = consumer_groups_pb2_grpc.ConsumerGroupsStub(connection)
        # One that exists already, with the same settings, is a success.
        create = pb.CreateGroupRequest(topic=topic, group=group)
        await channel.retrying(group, lambda: groups.CreateGroup(create, timeout=channel.DEADLINE))
        waits = channel.pauses()
        while not stop.is_set():
            open_ = pb.ConsumeOpen(topic=topic, group=group, consumer=consumer, max_in_flight=16)
            stream = groups.Consume()
            try:
                await stream.write(pb.ConsumeRequest(open=open_))
                if await work_off(stream, handled, stop):
                    waits = channel.pauses()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                failure = await channel.failure_of(stream, error)
                if not failure.is_transient():
                    raise
                # What was not acked comes again, here or at another member of the group.
                say(resuming=group, reason=failure.name())
            if not stop.is_set():
                await anext(waits)
    say(stopped=True)


async def work_off(stream: grpc.aio.StreamStreamCall, handled: Handled, stop: asyncio.Event) -> bool:
    """Handles what comes; ends with the stream. Answers whether anything came."""
    stopping = asyncio.create_task(stop.wait())
    closed = came = False
    try:
        while True:
            reading = asyncio.ensure_future(stream.read())
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not closed:
                # Half-closing ends the deliveries. Outcomes still come, then the stream ends, and
                # what was delivered but not begun goes to others at once.
                closed = True
                await stream.done_writing()
            answer = await reading
            if answer is grpc.aio.EOF:
                return came
            came = True
            match answer.WhichOneof("message"):
                case "delivery" if not closed:
                    await stream.write(settle(answer.delivery, handled))
                case "outcome" if answer.outcome.HasField("error"):
                    # Its lease went to somebody else, who handles it now.
                    say(refused=answer.outcome.receipt, message=answer.outcome.error.message)
    finally:
        stopping.cancel()


def settle(delivery: pb.Delivery, handled: Handled) -> pb.ConsumeRequest:
    """Handles an event, and answers what the service is to be told of it."""
    recorded, receipts = delivery.event, [delivery.receipt]
    facts = {"sequence": recorded.sequence, "delivery_count": delivery.delivery_count}
    if recorded.sequence in handled:
        say(repeated=recorded.event.id, **facts)
        return pb.ConsumeRequest(ack=pb.ConsumeAck(receipts=receipts))
    try:
        handle(recorded.event, delivery.delivery_count)
    except Refused as error:
        say(parked=recorded.event.id, **facts)
        nack = pb.ConsumeNack(receipts=receipts, action=pb.NACK_ACTION_PARK, reason=str(error))
        return pb.ConsumeRequest(nack=nack)
    except Exception as error:
        say(nacked=recorded.event.id, **facts)
        # Without a delay it would come again after the group's backoff.
        nack = pb.ConsumeNack(receipts=receipts, action=pb.NACK_ACTION_RETRY, reason=str(error))
        nack.delay.FromMilliseconds(100)
        return pb.ConsumeRequest(nack=nack)
    handled.add(recorded.sequence)
    say(handled=recorded.event.id, text=recorded.event.text_data, **facts)
    return pb.ConsumeRequest(ack=pb.ConsumeAck(receipts=receipts))
