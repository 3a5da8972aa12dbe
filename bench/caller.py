"""A gRPC client of 20 us a call: load that leaves on time, and may differ from call to call.

h2load sends one body only, and its --rps sends in bursts; grpcio's client would take more
of the machine than what is measured.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.http2 import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    grpc_call,
    grpc_headers,
    hello,
)

_WINDOW = 2**31 - 1
_MORE = 2**20
_HEAD = 9
_GRPC_HEAD = 5


class Caller(asyncio.Protocol):
    """One connection. `call` gives the message of the answer, empty if there is none."""

    def __init__(self, path: str) -> None:
        self._headers = grpc_headers(path)
        self._next = 1
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._answers: dict[int, bytes] = {}
        self._left = b""
        self._taken = 0

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        transport.write(hello(_WINDOW) + frame(WINDOW_UPDATE, 0, 0, _MORE.to_bytes(4)))

    def connection_lost(self, _error: Exception | None) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the server hung up"))

    def call(self, message: bytes) -> asyncio.Future[bytes]:
        """Send a message (below 16 kB); the future has the answer's."""
        stream, self._next = self._next, self._next + 2
        found = self._waiting[stream] = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            found.set_exception(ConnectionResetError("the server has hung up"))
        else:
            self._transport.write(grpc_call(stream, self._headers, message))
        return found

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        data, at = self._left + data, 0
        while len(data) - at >= _HEAD:
            size = int.from_bytes(data[at : at + 3])
            end = at + _HEAD + size
            if len(data) < end:
                break
            stream = int.from_bytes(data[at + 5 : at + _HEAD])
            self._take(data[at + 3], data[at + 4], stream, data[at + _HEAD : end])
            at = end
        self._left = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._answers[stream] = self._answers.get(stream, b"") + payload
            self._taken += len(payload)
            if self._taken > _MORE // 2:
                self._transport.write(frame(WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4)))
                self._taken = 0
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == GOAWAY:
            self._transport.close()
        if kind == RST or (kind in (DATA, HEADERS) and flags & END_STREAM):
            waiting = self._waiting.pop(stream, None)  # After the end there may be a reset.
            if waiting is not None and not waiting.done():
                waiting.set_result(self._answers.pop(stream, b"")[_GRPC_HEAD:])


async def connect(port: int, path: str, tls: ssl.SSLContext | None = None) -> Caller:
    """Return a connected caller of a method."""
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_connection(lambda: Caller(path), "127.0.0.1", port, ssl=tls)
    return caller


async def at_rate(
    caller: Caller,
    messages: Sequence[bytes],
    rate: int,
    seconds: float,
    answered: Callable[[float, float, bytes], None],
) -> None:
    """Call on time, whether or not the calls before are answered, one message after another.

    `answered` gets when a call was due (seconds since the start), how long its answer took
    from then, and the answer.
    """
    start = time.perf_counter()
    calls = []

    def done(due: float) -> Callable[[asyncio.Future[bytes]], None]:
        return lambda found: answered(
            due - start, time.perf_counter() - due, b"" if found.exception() else found.result()
        )

    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        call = caller.call(messages[number % len(messages)])
        call.add_done_callback(done(due))
        calls.append(call)
    await asyncio.gather(*calls, return_exceptions=True)


async def all_of(caller: Caller, messages: Sequence[bytes], in_flight: int) -> list[bytes]:
    """Call with every message once, `in_flight` at a time; return the answers."""
    answers: list[bytes] = []
    for start in range(0, len(messages), in_flight):
        calls = [caller.call(each) for each in messages[start : start + in_flight]]
        answers += await asyncio.gather(*calls)
    return answers


def quantile(times: Sequence[float], percent: float) -> float:
    """Return what `percent` of the times do not exceed."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
