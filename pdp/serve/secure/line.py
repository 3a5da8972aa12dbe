"""A client's connection joined to one of the server inside: encrypted there, plain here."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

from pdp.serve.secure.session import Session

CLOSE_DEADLINE: Final = 5.0
"""Seconds that either end has to take what was said last."""

MOST_UNREAD: Final = 1 << 20
"""Bytes that may wait for a client when TLS adds to them: each new key is answered by one."""


class Inside(asyncio.Protocol):
    """The end at the server, which may speak before the other end is there."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.line: Line | None = None
        self._early: list[bytes] = []
        self.is_lost = False

    def connection_made(self, transport: Any) -> None:
        """Note where to write."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass answers on."""
        if self.line is None:
            self._early.append(data)
        else:
            self.line.say(data)

    def join(self, line: "Line") -> None:
        """Pass on from now on, and what has come already."""
        self.line = line
        for data in self._early:
            line.say(data)
        self._early.clear()
        if self.is_lost:
            line.end()

    def pause_writing(self) -> None:
        """Read no faster than the server takes it."""
        if self.line is not None:
            _pause(self.line.transport)

    def resume_writing(self) -> None:
        """Read on."""
        if self.line is not None:
            _resume(self.line.transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the other end, once it has everything."""
        self.is_lost = True
        if self.line is not None:
            self.line.end()


class Line(asyncio.Protocol):
    """The end at the client, after the handshake; `inside` is the other one.

    `caller` is the client's address. `gone` is called once it is closed.
    """

    def __init__(self, session: Session, caller: str, gone: Callable[[], None]) -> None:
        self.transport: Any = None
        self.inside = Inside()
        self.caller = caller
        self._session = session
        self._gone = gone

    def connection_made(self, transport: Any) -> None:
        """Join both ends; something may have come together with the end of the handshake."""
        self.transport = transport
        self.inside.join(self)
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """Decrypt and pass on."""
        try:
            plain = self._session.opened(data)
        except ssl.SSLError:
            self.transport.abort()
            return
        if plain:
            _write(self.inside.transport, plain)
        if answer := self._session.unsent():
            self._say_of_itself(answer)
        if self._session.ended:
            self.end()

    def _say_of_itself(self, answer: bytes) -> None:
        """Send what TLS has to say; who makes it say more and more, and does not read, has to go.

        What the server says has other bounds.
        """
        _write(self.transport, answer)
        if self.transport.get_write_buffer_size() > MOST_UNREAD:
            self.transport.abort()

    def say(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self.transport.is_closing():
            self.transport.write(self._session.sealed(data))

    def pause_writing(self) -> None:
        """Let answers wait in the server, which has bounds for them."""
        _pause(self.inside.transport)

    def resume_writing(self) -> None:
        """Take answers again."""
        _resume(self.inside.transport)

    def end(self) -> None:
        """Close, once everything is sent."""
        if not self.transport.is_closing():
            self.transport.write(self._session.farewell())
            _close(self.transport)

    def eof_received(self) -> None:
        """Close: who says no more, and does not read what is left for him, has to go."""
        self.end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Close the other end as well: the server takes back what is in flight."""
        _close(self.inside.transport)
        self.inside.line = None  # In a circle they would wait long for the collector: 30 kB.
        self._gone()


def _write(transport: Any, data: bytes) -> None:
    if data and not transport.is_closing():
        transport.write(data)


def _pause(transport: Any) -> None:
    if not transport.is_closing():
        transport.pause_reading()


def _resume(transport: Any) -> None:
    if not transport.is_closing():
        transport.resume_reading()


def _close(transport: Any) -> None:
    if not transport.is_closing():
        transport.close()
        asyncio.get_running_loop().call_later(CLOSE_DEADLINE, transport.abort)
