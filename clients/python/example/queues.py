"""The message queue: a worker that answers calls, and a caller with a deadline."""

import asyncio
import json

import grpc
from google.rpc import code_pb2
from messagequeue.v1 import message_pb2
from messagequeue.v1 import message_queue_pb2 as pb
from messagequeue.v1 import message_queue_pb2_grpc

from . import channel, events
from .channel import Failure, say

Stub = message_queue_pb2_grpc.MessageQueueStub

# What a reply is refused with when there is nothing left to do: it was answered, or is somebody else's.
SETTLED = {"ALREADY_REPLIED", "LEASE_LOST", "NO_REPLY_EXPECTED"}


def handle(message: message_pb2.Message) -> message_pb2.ReplyContent:
    """What the worker is for: it adds numbers. What it can't do, it says to the caller."""
    reply = message_pb2.ReplyContent()
    try:
        if message.type != "add":
            raise ValueError(f"there is nothing to do for {message.type}")
        reply.body.text_body = json.dumps(sum(json.loads(message.text_body)))
        reply.body.content_type = "application/json"
    except (ValueError, TypeError) as error:
        reply.error.code = code_pb2.INVALID_ARGUMENT
        reply.error.message = str(error)
    return reply


async def work(queue: str, stop: asyncio.Event) -> None:
    """Works off a queue until it is told to stop."""
    async with channel.message_queue() as connection:
        stub = Stub(connection)
        waits = channel.pauses()
        while not stop.is_set():
            stream = stub.Consume()
            try:
                open_ = pb.ConsumeOpen(queue=queue, max_in_flight=16)
                await stream.write(pb.ConsumeRequest(open=open_))
                if await work_off(stub, stream, queue, stop):
                    waits = channel.pauses()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                failure = await channel.failure_of(stream, error)
                if not failure.is_transient():
                    raise
                say(resuming=queue, reason=failure.name())
            if not stop.is_set():
                await anext(waits)
    say(stopped=True)


async def work_off(
    stub: Stub, stream: grpc.aio.StreamStreamCall, queue: str, stop: asyncio.Event
) -> bool:
    """Answers what comes; ends with the stream. Answers whether anything came."""
    stopping = asyncio.create_task(stop.wait())
    closed = came = False
    try:
        while True:
            reading = asyncio.ensure_future(stream.read())
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not closed:
                # Ends the deliveries; what was delivered but not begun goes to others at once.
                closed = True
                await stream.done_writing()
            answer = await reading
            if answer is grpc.aio.EOF:
                return came
            came = True
            match answer.WhichOneof("message"):
                case "delivery" if not closed and answer.delivery.expects_reply:
                    await answer_it(stub, queue, answer.delivery)
                case "delivery" if not closed:
                    receipts = [answer.delivery.receipt]
                    handle(answer.delivery.message)
                    await stream.write(pb.ConsumeRequest(ack=pb.ConsumeAck(receipts=receipts)))
                case "outcome" if answer.outcome.HasField("error"):
                    say(refused=answer.outcome.receipt, message=answer.outcome.error.message)
    finally:
        stopping.cancel()


async def answer_it(stub: Stub, queue: str, delivery: message_pb2.Delivery) -> None:
    """Replies, which acks too. The stub has the connection that the message came over."""
    reply = handle(delivery.message)
    request = pb.ReplyRequest(queue=queue, receipt=delivery.receipt, reply=reply)
    message_id = delivery.message.id
    try:
        await channel.retrying(
            message_id, lambda: stub.Reply(request, timeout=channel.DEADLINE)
        )
        say(answered=message_id, attempt=delivery.attempt)
    except grpc.aio.AioRpcError as error:
        if (reason := Failure(error).reason) not in SETTLED:
            raise
        say(refused=message_id, reason=reason)


async def call(queue: str, timeout: float) -> None:
    """Calls a worker with each line of standard input, as in `[2, 3]`."""
    async with channel.message_queue() as connection:
        stub = Stub(connection)
        async for line in events.lines():
            message = message_pb2.Message(type="add", text_body=line)
            request = pb.CallRequest(queue=queue, message=message)
            request.timeout.FromMilliseconds(int(timeout * 1000))
            # The deadline is a little later than the service's own, whose error (CALL_TIMEOUT)
            # tells what became of the message. A call that fails otherwise may have been handled:
            # this one may be made again because adding twice does no harm.
            answer = await channel.retrying(line, lambda: stub.Call(request, timeout=timeout + 2))
            if answer.reply.WhichOneof("result") == "error":
                say(call=line, failed=answer.reply.error.message)
            else:
                say(call=line, reply=answer.reply.body.text_body)
