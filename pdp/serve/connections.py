"""HTTP connections, bounded in number and in how long they may keep a request from us."""

import asyncio
import json
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST: Final = 512
"""Connections of one port; each costs a file descriptor and some 100 KB at worst."""

HEAD_DEADLINE: Final = 10.0
"""Seconds from one answer, or the start, to the next request's last header."""


class Places:
    """The connections of one port that wait for a request, longest first."""

    def __init__(self, most: int, head_deadline: float) -> None:
        self.most = most
        self._head_deadline = head_deadline
        self._waiting: dict[H11Protocol, asyncio.TimerHandle] = {}

    def wait(self, connection: H11Protocol) -> None:
        """Give a connection until the deadline to send a request."""
        self.wait_no_more(connection)
        if not connection.transport.is_closing():
            abort = connection.transport.abort
            self._waiting[connection] = connection.loop.call_later(self._head_deadline, abort)

    def wait_no_more(self, connection: H11Protocol) -> None:
        """Note that its request is there, or that it is gone."""
        timer = self._waiting.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def free_one(self) -> bool:
        """End the connection that has waited longest; tell whether there was one."""
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.wait_no_more(oldest)
        oldest.transport.abort()
        oldest.connections.discard(oldest)  # It hears of its end only later.
        return True


class BoundedProtocol(H11Protocol):
    """One more connection than there are places takes that of the one that waited longest.

    Where all are at work, it is answered 503 and closed.
    """

    places: Places

    def connection_made(self, transport: Any) -> None:
        """Take a place, or refuse."""
        if len(self.connections) >= self.places.most and not self.places.free_one():
            transport.write(_refusal(503, "unavailable", _BUSY, "retry-after: 1\r\n"))
            transport.close()
            return
        super().connection_made(transport)
        self.places.wait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.places.wait_no_more(self)
        if not self._is_refused():
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, unless there was no place."""
        if not self._is_refused():
            super().data_received(data)

    def handle_events(self) -> None:
        """Look at what has come in."""
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self.places.wait_no_more(self)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.places.wait(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  What h11 says is of no use.
        """Refuse what is no HTTP in the shape of every error."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_refusal(400, "invalid_request", _NO_HTTP))
            self.transport.close()
        else:  # An answer is on its way, and nothing may come between.
            self.transport.abort()

    def _is_refused(self) -> bool:
        return self.flow is None


def bounded_protocol(most: int = MOST, head_deadline: float = HEAD_DEADLINE) -> type[H11Protocol]:
    """Return a protocol whose connections are counted together."""
    return type("Bounded", (BoundedProtocol,), {"places": Places(most, head_deadline)})


_BUSY: Final = "too many connections: try again"
_NO_HTTP: Final = "this is no HTTP/1.1 request: mend the client"
_PHRASES: Final = {400: "Bad Request", 503: "Service Unavailable"}
_TYPES: Final = {400: "invalid_request_error", 503: "server_error"}


def _refusal(status: int, code: str, message: str, more: str = "") -> bytes:
    error = {"message": message, "type": _TYPES[status], "param": None, "code": code}
    body = json.dumps({"error": error})
    return (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\ncache-control: no-store\r\n{more}"
        f"\r\n{body}"
    ).encode()
