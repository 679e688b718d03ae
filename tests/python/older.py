"""A client of an earlier version: what it has no name for it keeps as a number, or does not see.

Run by tests/tests/compat.rs with the addresses of the two services, on stubs of changed protos.
"""

import sys

import grpc
from eventstore.v1 import event_pb2, event_store_pb2, event_store_pb2_grpc
from messagequeue.v1 import message_pb2, message_queue_pb2, message_queue_pb2_grpc
from messagequeue.v1 import queues_pb2, queues_pb2_grpc

READY = 1


def events(address):
    with grpc.insecure_channel(address) as channel:
        store = event_store_pb2_grpc.EventStoreStub(channel)
        event = event_pb2.Event(id="1", type="greeted", text_data="hello")
        store.Append(event_store_pb2.AppendRequest(topic="older", events=[event]))
        [answer] = store.Read(event_store_pb2.ReadRequest(topic="older"))
        assert not hasattr(answer.event, "sequence")
        assert answer.event.event == event


def messages(address):
    with grpc.insecure_channel(address) as channel:
        queue = message_queue_pb2_grpc.MessageQueueStub(channel)
        message = message_pb2.Message(type="greet", text_body="hello")
        outgoing = message_pb2.OutgoingMessage(message=message)
        queue.Send(message_queue_pb2.SendRequest(queue="older", messages=[outgoing]))
        assert READY not in queues_pb2.MessageState.values()
        peek = queues_pb2.PeekMessagesRequest(queue="older")
        [seen] = queues_pb2_grpc.QueuesStub(channel).PeekMessages(peek).messages
        assert seen.state == READY and seen.message.text_body == "hello", seen
        assert "state: 1" in str(seen), seen


if __name__ == "__main__":
    events(sys.argv[1])
    messages(sys.argv[2])
    print("all well")
