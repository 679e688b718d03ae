"""The command line: `python -m example append orders`, and so on."""

import argparse
import asyncio
import signal
import sys

import grpc

from . import events, groups, queues
from .channel import Failure, say


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="example", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    append = commands.add_parser("append", help="append each line of standard input as an event")
    append.add_argument("topic")
    append.add_argument("type", nargs="?", default="line")
    append.add_argument("id_prefix", nargs="?", help="the same as before: a retry of that run")
    read = commands.add_parser("read", help="print the events that are there")
    read.add_argument("topic")
    read.add_argument("subject", nargs="?")
    subscribe = commands.add_parser("subscribe", help="print events as they come")
    subscribe.add_argument("topic")
    subscribe.add_argument("position_file", nargs="?", help="remembers how far it got")
    consume = commands.add_parser("consume", help="handle events as a member of a group")
    consume.add_argument("topic")
    consume.add_argument("group")
    consume.add_argument("consumer", nargs="?", default="python")
    work = commands.add_parser("work", help="answer calls: adds the numbers of a JSON array")
    work.add_argument("queue")
    call = commands.add_parser("call", help="call a worker with each line of standard input")
    call.add_argument("queue")
    call.add_argument("timeout", nargs="?", type=float, default=10.0, help="in seconds")
    return parser.parse_args()


async def run(given: argparse.Namespace) -> None:
    stop = asyncio.Event()
    if given.command in {"subscribe", "consume", "work"}:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    match given.command:
        case "append":
            await events.append(given.topic, given.type, given.id_prefix)
        case "read":
            await events.read(given.topic, given.subject)
        case "subscribe":
            await events.subscribe(given.topic, given.position_file, stop)
        case "consume":
            await groups.consume(given.topic, given.group, given.consumer, stop)
        case "work":
            await queues.work(given.queue, stop)
        case "call":
            await queues.call(given.queue, given.timeout)


def main() -> int:
    try:
        asyncio.run(run(arguments()))
    except grpc.aio.AioRpcError as error:
        say(error=Failure(error).as_json())
        return 1
    return 0


sys.exit(main())
