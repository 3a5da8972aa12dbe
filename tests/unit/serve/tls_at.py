"""A port with TLS in front of a server on a unix socket, open for a test."""

import asyncio
import functools
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from pdp.certificates import Renewed, TlsFiles, port_files, wall_clock
from pdp.serve.secure.contexts import Contexts
from pdp.serve.secure.port import TlsPort
from pdp.settings import Settings
from tests.pki import Authority

Behavior = Callable[[StreamReader, StreamWriter], Awaitable[None]]

FAR = 30
"""Seconds for what takes milliseconds."""


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the event loop of the product; tests/wire has them on asyncio's own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(test(*arguments, **named))

    return run


class At:
    """A port that is open."""

    def __init__(self, folder: Path, authority: Authority, behavior: Behavior) -> None:
        self._authority = authority
        self._behavior = behavior
        self._behaving: set[asyncio.Task[Any]] = set()
        self._clients: list[StreamWriter] = []
        self._path = folder / "inside.sock"
        self._claimed = socket.create_server(("127.0.0.1", 0))
        self.number = self._claimed.getsockname()[1]
        self.port = TlsPort(self._claimed, self._path, Contexts(Renewed(self._files(), wall_clock)))

    def _files(self) -> TlsFiles:
        shown = self._authority.issue("server", "127.0.0.1")
        files = port_files(Settings(tls_cert=shown.cert, tls_key=shown.key))
        assert files is not None
        return files

    async def _behave(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._behaving.add(task)
        task.add_done_callback(self._behaving.discard)
        await self._behavior(reader, writer)
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def start(self) -> None:
        self.inside = await asyncio.start_unix_server(self._behave, self._path)
        self.port.start()

    async def connect(self, alpn: str = "h2") -> tuple[StreamReader, StreamWriter]:
        context = ssl.create_default_context(cafile=str(self._authority.ca))
        context.set_alpn_protocols([alpn])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number, ssl=context)
        self._clients.append(writer)
        return reader, writer

    async def stop(self) -> None:
        """Leave nothing behind."""
        self.inside.close()
        await self.port.refuse()
        for client in self._clients:
            client.transport.abort()
        await self.port.finish()
        if self._behaving:
            await asyncio.wait(self._behaving, timeout=FAR)


@asynccontextmanager
async def opened(folder: Path, authority: Authority, behavior: Behavior) -> AsyncIterator[At]:
    at = At(folder, authority, behavior)
    await at.start()
    try:
        yield at
    finally:
        await at.stop()


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def say_something(at: At) -> None:
    """See that whoever comes next is served."""
    reader, writer = await at.connect()
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), FAR) == b"hello"
    writer.close()


async def refused(at: At, *said: bytes) -> None:
    """Connect in the clear, say something, and be hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.number)
    for each in said:
        writer.write(each)
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), FAR)
    writer.close()
