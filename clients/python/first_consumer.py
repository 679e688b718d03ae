"""Handles the shop's orders, as a member of the consumer group `first-consumer` of the topic `order`."""

import json
import signal
import sys

import grpc
from eventstore.v1 import consumer_groups_pb2 as pb
from eventstore.v1 import consumer_groups_pb2_grpc

GROUP = {"topic": "order", "group": "first-consumer"}
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))


def handle(recorded):
    """What is done with an event. An error hands it back, to be tried again later."""
    event = recorded.event
    print(event.type, json.loads(event.text_data or event.binary_data)["status"], flush=True)


with grpc.insecure_channel(sys.argv[1]) as channel:
    groups = consumer_groups_pb2_grpc.ConsumerGroupsStub(channel)
    groups.CreateGroup(pb.CreateGroupRequest(**GROUP))  # a success too if it exists
    fetch = pb.FetchRequest(consumer="me", max_events=10, **GROUP)
    fetch.wait.FromSeconds(1)
    while not stopping:
        done, failed = [], []
        for delivery in groups.Fetch(fetch).deliveries:
            try:
                handle(delivery.event)
                done.append(delivery.receipt)
            except Exception as error:
                print("failed:", error, file=sys.stderr)
                failed.append(delivery.receipt)
        if done:
            groups.Ack(pb.AckRequest(receipts=done, **GROUP))
        if failed:
            groups.Nack(pb.NackRequest(receipts=failed, reason="it failed", **GROUP))
