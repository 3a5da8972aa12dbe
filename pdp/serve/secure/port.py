"""A port that speaks TLS, and passes on what is said to a server on a unix socket."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from pdp.data.quiet import Kinds
from pdp.serve.secure.contexts import Contexts
from pdp.serve.secure.line import Line
from pdp.serve.secure.session import NoProtocol, Session

_log = structlog.get_logger(__name__)

HANDSHAKE_DEADLINE: Final = 10.0
"""Seconds from the connection to the end of the handshake."""

MOST: Final = 8192
"""Connections: each takes some 35 kB, also of who has no token."""

_BACKLOG: Final = 4096
_FLIGHT: Final = 1 << 14
_PAUSE: Final = 0.1
"""Seconds before the next try where a connection cannot be taken: files may be free by then."""

_FAREWELL: Final = 1.0
"""Seconds in which clients take what is left for them at the end."""

_PATIENCE: Final = struct.pack("ll", 5, 0)
"""Five seconds, as sockets take them: for a place in the queue of the server inside."""


class TlsPort:
    """Takes connections of a bound socket. Handshakes are calculated in a thread of their own.

    Of those that never end there are as many as connect in `HANDSHAKE_DEADLINE`, and of all
    connections `MOST`.
    """

    def __init__(self, listener: socket.socket, inside: Path, contexts: Contexts) -> None:
        self._listener = listener
        self._path = str(inside)
        self._contexts = contexts
        self._thread = ThreadPoolExecutor(1, "tls-handshake")
        self._greeting: set[asyncio.Task[None]] = set()
        self._joining: set[asyncio.Task[None] | None] = set()
        """Those of them that have come through: what they ask may be on its way already."""
        self._lines: dict[int, Line] = {}
        """By the number of the connection to the server inside, from 1."""
        self._connected = 0
        self._none_left = asyncio.Event()
        self._accepting: asyncio.Task[None] | None = None
        self._kinds = Kinds()

    def start(self) -> None:
        """Take connections."""
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._accepting = asyncio.ensure_future(self._accept())

    async def refuse(self) -> None:
        """Take no more connections, and give up those that have not come through."""
        ending = self._greeting | ({self._accepting} if self._accepting else set())
        for task in ending - self._joining:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        self._listener.close()

    async def finish(self) -> None:
        """Wait a moment for what clients have not taken yet, and close. Call `refuse` before.

        The server inside must have closed its ends.
        """
        try:
            async with asyncio.timeout(_FAREWELL):
                while self._lines:
                    self._none_left.clear()
                    await self._none_left.wait()
        except TimeoutError:
            for line in [*self._lines.values()]:
                line.transport.abort()
        self._thread.shutdown(wait=False)

    def caller(self, number: int) -> str | None:
        """Return the address of whom a connection of the server inside is for; None: nobody."""
        line = self._lines.get(number)
        return None if line is None else line.caller

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                self._tell_not_taken(str(error))
                await asyncio.sleep(_PAUSE)
                continue
            if len(self._greeting) + len(self._lines) >= MOST:
                self._tell_not_taken(f"there are {MOST} of this port")
                client.close()
                continue
            task = asyncio.ensure_future(self._take(client, _shown(client, peer)))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _take(self, client: socket.socket, caller: str) -> None:
        """Shake hands, and join the client to the server."""
        inside, number = None, 0
        try:
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(HANDSHAKE_DEADLINE):
                session = await self._shake_hands(client)
                self._joining.add(asyncio.current_task())
                inside, number = await self._connected_inside()
            line = self._lines[number] = Line(session, caller, partial(self._gone, number))
            await _join(client, line, inside)
        except BaseException as error:
            client.close()
            if inside is not None:
                inside.close()
                self._gone(number)
            if not isinstance(error, OSError | NoProtocol | TimeoutError):
                raise
            self._tell(error, caller)
        finally:
            self._joining.discard(asyncio.current_task())

    async def _shake_hands(self, client: socket.socket) -> Session:
        loop = asyncio.get_running_loop()
        done, session, data = False, None, b""
        while not done:
            data = await loop.sock_recv(client, _FLIGHT)
            if not data:
                raise ConnectionResetError
            if session is None:  # Who says nothing costs nothing.
                session = Session(await self._run(self._contexts.current))
            try:
                done = await self._run(session.shake, data)
            except (ssl.SSLError, NoProtocol):  # Else the thread may be at it still.
                await loop.sock_sendall(client, session.unsent())
                raise
            await loop.sock_sendall(client, session.unsent())
        assert session is not None
        return session

    async def _connected_inside(self) -> tuple[socket.socket, int]:
        connecting = asyncio.ensure_future(self._run(self._connect))
        try:
            return await asyncio.shield(connecting)
        except BaseException:  # Given up; but it comes about in its thread.
            connecting.add_done_callback(_close_late)
            raise

    def _connect(self) -> tuple[socket.socket, int]:
        """Connect to the server inside, and count; blocks where many do at once."""
        inside = socket.socket(socket.AF_UNIX)
        try:
            inside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
            inside.connect(self._path)
            inside.setblocking(False)
        except BaseException:
            inside.close()
            raise
        self._connected += 1  # All do in the one thread: it takes them in this order.
        return inside, self._connected

    def _gone(self, number: int) -> None:
        self._lines.pop(number, None)
        if not self._lines:
            self._none_left.set()

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _tell_not_taken(self, reason: str) -> None:
        passed_over = self._kinds.over(reason)
        if passed_over is not None:
            _log.warning("a connection was not taken", reason=reason, passed_over=passed_over)

    def _tell(self, error: BaseException, caller: str) -> None:
        """Log why a handshake failed; who only hangs up, or looks whether we listen, is let go."""
        if isinstance(error, ssl.SSLError | NoProtocol | TimeoutError):
            reason = _reason(error)
            passed_over = self._kinds.over(reason)
            if passed_over is not None:
                _log.warning(
                    "TLS handshake failed", reason=reason, peer=caller, passed_over=passed_over
                )


async def _join(client: socket.socket, line: Line, inside: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: line.inside, sock=inside)
    try:
        await loop.connect_accepted_socket(lambda: line, client)
    except BaseException:
        line.inside.transport.close()
        raise


def _close_late(connecting: asyncio.Future[tuple[socket.socket, int]]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result()[0].close()


def _shown(client: socket.socket, peer: Any) -> str:
    """Return an address as the native transport writes it."""
    if client.family == socket.AF_UNIX:
        return "unix:"
    host, port = peer[:2]
    return f"ipv6:[{host}]:{port}" if client.family == socket.AF_INET6 else f"ipv4:{host}:{port}"


def _reason(error: BaseException) -> str:
    """Return why a handshake failed, in words of the library."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        return error.verify_message  # `certificate has expired`
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unknown").lower().replace("_", " ")
    if isinstance(error, NoProtocol):
        return "the client did not ask for HTTP/2 (ALPN h2)"
    return "it took too long"
