"""A client in Python, from nothing but the protos: appends, reads, sends, receives, calls.

Run by tests/tests/python.rs with the addresses of the two services; any failure ends it.
"""

import sys
import threading

import grpc
from eventstore.v1 import event_pb2, event_store_pb2, event_store_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from messagequeue.v1 import message_pb2, message_queue_pb2, message_queue_pb2_grpc


def events(address):
    with grpc.insecure_channel(address) as channel:
        store = event_store_pb2_grpc.EventStoreStub(channel)
        event = event_pb2.Event(id="1", type="greeted", subject="ann", text_data="grüß dich")
        request = event_store_pb2.AppendRequest(topic="python", events=[event])
        appended = store.Append(request)
        assert appended.first_sequence == 1 and appended.subject_revisions["ann"] == 0
        again = store.Append(request)
        assert again.deduplicated and again.last_position == appended.last_position

        read = list(store.Read(event_store_pb2.ReadRequest(topic="python")))
        assert [answer.event.event for answer in read] == [event], read

        topics = [event_store_pb2.TopicStart(topic="python")]
        subscription = store.Subscribe(event_store_pb2.SubscribeRequest(topics=topics))
        assert next(subscription).event.position == appended.first_position
        assert next(subscription).caught_up.topic == "python"
        subscription.cancel()

        request.events[0].type = "something else"
        try:
            store.Append(request)
            raise AssertionError("an id was taken twice")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.ALREADY_EXISTS, error
            assert reason(error) == "ID_REUSED", error


def reason(error):
    """The reason in the ErrorInfo that each error carries."""
    trailer = dict(error.trailing_metadata())["grpc-status-details-bin"]
    for detail in status_pb2.Status.FromString(trailer).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None


def messages(address):
    with grpc.insecure_channel(address) as channel:
        queue = message_queue_pb2_grpc.MessageQueueStub(channel)
        message = message_pb2.Message(type="resize", binary_body=b"\x00\xff")
        outgoing = message_pb2.OutgoingMessage(message=message)
        sent = queue.Send(message_queue_pb2.SendRequest(queue="python", messages=[outgoing]))
        delivery = receive(queue, "python")
        assert delivery.message.id == sent.results[0].message_id
        assert delivery.message.binary_body == b"\x00\xff"
        ack = message_queue_pb2.AckRequest(queue="python", receipts=[delivery.receipt])
        assert not queue.Ack(ack).outcomes[0].HasField("error")

        worker = threading.Thread(target=answer, args=[queue])
        worker.start()
        call = message_queue_pb2.CallRequest(
            queue="sums", message=message_pb2.Message(type="add", text_body="2+3")
        )
        call.timeout.FromSeconds(20)
        assert queue.Call(call).reply.body.text_body == "5"
        worker.join()


def receive(queue, name):
    request = message_queue_pb2.ReceiveRequest(queue=name)
    request.wait.FromSeconds(15)
    deliveries = queue.Receive(request).deliveries
    assert len(deliveries) == 1, deliveries
    return deliveries[0]


def answer(queue):
    """Works off one message of the queue of sums."""
    delivery = receive(queue, "sums")
    a, b = delivery.message.text_body.split("+")
    reply = message_pb2.ReplyContent(body=message_pb2.ReplyBody(text_body=str(int(a) + int(b))))
    queue.Reply(
        message_queue_pb2.ReplyRequest(queue="sums", receipt=delivery.receipt, reply=reply)
    )


if __name__ == "__main__":
    events(sys.argv[1])
    messages(sys.argv[2])
    print("all well")
