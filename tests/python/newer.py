"""A client of a later version: its fields are ignored, its enum values refused by name of the field.

Run by tests/tests/compat.rs with the addresses of the two services, on stubs of changed protos.
"""

import sys

import grpc
from eventstore.v1 import consumer_groups_pb2, consumer_groups_pb2_grpc
from eventstore.v1 import event_pb2, event_store_pb2, event_store_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from messagequeue.v1 import message_pb2, message_queue_pb2, message_queue_pb2_grpc
from messagequeue.v1 import queues_pb2, queues_pb2_grpc

LATER = 900


def refused(field, call):
    """The call fails with INVALID_ARGUMENT, and names the field."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        reasons = [info.reason for detail in status.details if detail.Unpack(info)]
        assert reasons == ["INVALID_ARGUMENT"], status
        fields = [
            violation.field
            for detail in status.details
            if detail.Unpack(bad)
            for violation in bad.field_violations
        ]
        assert len(fields) == 1 and fields[0].endswith(field), fields
        return
    raise AssertionError(f"an unknown {field} was taken")


def events(address):
    with grpc.insecure_channel(address) as channel:
        store = event_store_pb2_grpc.EventStoreStub(channel)
        event = event_pb2.Event(id="1", type="greeted", text_data="hello", later="later")
        request = event_store_pb2.AppendRequest(topic="newer", events=[event], later=event)
        assert store.Append(request).first_sequence == 1
        [answer] = store.Read(event_store_pb2.ReadRequest(topic="newer"))
        assert answer.event.event.text_data == "hello"

        request.durability = LATER
        refused("durability", lambda: store.Append(request))
        [answer] = store.AppendStream(iter([request]))
        assert "durability" in answer.error.message, answer
        read = event_store_pb2.ReadRequest(topic="newer", direction=LATER)
        refused("direction", lambda: list(store.Read(read)))

        groups = consumer_groups_pb2_grpc.ConsumerGroupsStub(channel)
        group = {"topic": "newer", "group": "group"}
        settings = consumer_groups_pb2.GroupSettings(later="later", ordering=LATER)
        create = consumer_groups_pb2.CreateGroupRequest(settings=settings, **group)
        refused("settings.ordering", lambda: groups.CreateGroup(create))
        create.settings.ordering = consumer_groups_pb2.ORDERING_SUBJECT
        assert groups.CreateGroup(create).group.settings.ordering == consumer_groups_pb2.ORDERING_SUBJECT
        fetch = consumer_groups_pb2.FetchRequest(consumer="one", **group)
        [delivery] = groups.Fetch(fetch).deliveries
        receipts = [delivery.receipt]
        nack = consumer_groups_pb2.NackRequest(receipts=receipts, action=LATER, **group)
        refused("action", lambda: groups.Nack(nack))
        open_ = consumer_groups_pb2.ConsumeOpen(consumer="two", **group)
        consume_nack = consumer_groups_pb2.ConsumeNack(receipts=receipts, action=LATER)
        said = [
            consumer_groups_pb2.ConsumeRequest(open=open_),
            consumer_groups_pb2.ConsumeRequest(nack=consume_nack),
        ]
        refused("action", lambda: list(groups.Consume(iter(said))))
        ack = consumer_groups_pb2.AckRequest(receipts=receipts, **group)
        assert not groups.Ack(ack).outcomes[0].HasField("error")


def messages(address):
    with grpc.insecure_channel(address) as channel:
        queue = message_queue_pb2_grpc.MessageQueueStub(channel)
        message = message_pb2.Message(type="greet", text_body="hello", later="later")
        outgoing = message_pb2.OutgoingMessage(message=message, later=["later"])
        request = message_queue_pb2.SendRequest(queue="newer", messages=[outgoing])
        queue.Send(request)
        [delivery] = queue.Receive(message_queue_pb2.ReceiveRequest(queue="newer")).deliveries
        assert delivery.message.text_body == "hello"
        request.messages[0].priority = LATER
        refused("priority", lambda: queue.Send(request))
        request = message_queue_pb2.SendRequest(queue="newer", messages=[outgoing], durability=LATER)
        refused("durability", lambda: queue.Send(request))
        [answer] = queue.SendStream(iter([request]))
        assert "durability" in answer.error.message, answer
        peek = queues_pb2.PeekMessagesRequest(queue="newer", state=LATER)
        refused("state", lambda: queues_pb2_grpc.QueuesStub(channel).PeekMessages(peek))


if __name__ == "__main__":
    events(sys.argv[1])
    messages(sys.argv[2])
    print("all well")
