"""Channels, what an error tells, and which errors are worth another try."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

T = TypeVar("T")

# A call gets so long; a retry is another call.
DEADLINE = 10.0
# So long is a write tried again before its error is final.
PATIENCE = 60.0

_CONFIG = Path(__file__).parents[2] / "service-config.json"
_OPTIONS = [
    ("grpc.service_config", json.dumps(json.loads(_CONFIG.read_text()))),
    # Finds out within 40 s that a connection is dead, also while it is quiet.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that comes back is found within 2 s.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Events may be as large as the service is configured to take; the default is 4 MiB.
    ("grpc.max_receive_message_length", 20 * 1024 * 1024),
]


def event_store() -> grpc.aio.Channel:
    """A channel to event-store-svc; it connects when it is first used."""
    return grpc.aio.insecure_channel(os.environ.get("EVENT_STORE", "localhost:50051"), _OPTIONS)


def message_queue() -> grpc.aio.Channel:
    """A channel to message-queue-svc."""
    return grpc.aio.insecure_channel(os.environ.get("MESSAGE_QUEUE", "localhost:50052"), _OPTIONS)


class Failure:
    """What an error tells: its code for gRPC, its reason for programs, its message for people."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code().name
        self.message = error.details() or ""
        self.reason: str | None = None
        self.metadata: dict[str, str] = {}
        self.retry_after: float | None = None
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self._take(status_pb2.Status.FromString(value))

    def _take(self, status: status_pb2.Status) -> None:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        for detail in status.details:
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(retry):
                self.retry_after = retry.retry_delay.ToTimedelta().total_seconds()

    def is_transient(self) -> bool:
        """Whether another try may succeed; for a write only with the same ids as before."""
        if self.reason is None:
            # Not from a service but from the connection to it.
            return self.code in {"UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED", "DEADLINE_EXCEEDED"}
        return self.code == "UNAVAILABLE" or self.reason in {"OUTCOME_UNKNOWN", "RATE_LIMITED"}

    def name(self) -> str:
        """The reason; for an error of the connection, which has none, the code."""
        return self.reason or self.code

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "reason": self.reason, "message": self.message, "metadata": self.metadata}


async def failure_of(stream: grpc.aio.StreamStreamCall, error: Exception) -> Failure:
    """A write to a stream that has ended fails without saying why: the stream's end does."""
    if isinstance(error, grpc.aio.AioRpcError):
        return Failure(error)
    try:
        await stream.read()
    except grpc.aio.AioRpcError as end:
        return Failure(end)
    raise error


async def pauses() -> AsyncIterator[None]:
    """Waits between tries: 100 ms, twice that, and so on up to 2 s, each with jitter."""
    pause = 0.1
    while True:
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        yield
        pause = min(pause * 2, 2.0)


async def retrying(what: str, call: Callable[[], Awaitable[T]]) -> T:
    """Makes a call that may be made twice, until it succeeds or fails for good."""
    end = asyncio.get_running_loop().time() + PATIENCE
    waits = pauses()
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            failure = Failure(error)
            if not failure.is_transient() or asyncio.get_running_loop().time() > end:
                raise
            say(retrying=what, reason=failure.name())
            await asyncio.sleep(failure.retry_after or 0)
            await anext(waits)


def say(**fields: Any) -> None:
    """One line of JSON."""
    print(json.dumps(fields, ensure_ascii=False), flush=True)
