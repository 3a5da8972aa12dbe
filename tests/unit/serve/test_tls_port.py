"""A port with TLS in front of a server on a unix socket: real sockets, the product's loop."""

import asyncio
import functools
import gc
import os
import socket
import ssl
import threading
import weakref
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from pdp.certificates import Renewed, TlsFiles, port_files, wall_clock
from pdp.serve.secure import line as line_module
from pdp.serve.secure import port as port_module
from pdp.serve.secure.contexts import Contexts
from pdp.serve.secure.line import MOST_UNREAD, Line
from pdp.serve.secure.port import TlsPort
from pdp.serve.secure.session import Session
from pdp.settings import Settings
from tests.pki import Authority
from tests.stack import eventually_async

Behavior = Callable[[StreamReader, StreamWriter], Awaitable[None]]

FAR = 30
"""Seconds for what takes milliseconds."""


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on the event loop of the product; tests/wire has them on asyncio's own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(test(*arguments, **named))

    return run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


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


@on_uvloop
async def test_all_that_is_said_comes_through(tmp_path: Path, authority: Authority) -> None:
    said = os.urandom(3_000_000)
    async with opened(tmp_path, authority, echo) as at:
        reader, writer = await at.connect()
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.write(said)
        assert await asyncio.wait_for(reader.readexactly(len(said)), FAR) == said
        writer.close()


@on_uvloop
async def test_100_that_come_at_once_are_served(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority, echo) as at:
        await asyncio.gather(*(say_something(at) for _ in range(100)))


@on_uvloop
async def test_the_server_says_no_more_than_its_client_reads(
    tmp_path: Path, authority: Authority
) -> None:
    chunk, chunks, said, end = bytes(65536), 1000, 0, asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal said
        for _ in range(chunks):
            writer.write(chunk)
            await writer.drain()
            said += 1
        writer.close()
        end.set()

    async with opened(tmp_path, authority, talk) as at:
        reader, writer = await at.connect()

        await eventually_async(stuck(lambda: said), "the server waits for its client", FAR)
        assert not end.is_set()
        assert said < chunks // 2
        whole = await asyncio.wait_for(reader.read(), FAR)
        assert len(whole) == chunks * len(chunk)
        assert end.is_set()
        writer.close()


def stuck(done: Callable[[], int]) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether something has begun, and goes no further."""

    async def is_stuck() -> bool:
        before = done()
        for _ in range(10):
            await asyncio.sleep(0.02)
        return done() == before > 0

    return is_stuck


@on_uvloop
async def test_the_client_says_no_more_than_the_server_reads(
    tmp_path: Path, authority: Authority
) -> None:
    read_on, total = asyncio.Event(), 64_000_000

    async def listen(reader: StreamReader, writer: StreamWriter) -> None:
        await read_on.wait()
        found = 0
        while data := await reader.read(1 << 20):
            found += len(data)
        writer.write(found.to_bytes(8))
        writer.close()

    async with opened(tmp_path, authority, listen) as at:
        _, writer = await at.connect()
        sent = 0

        async def talk() -> None:
            nonlocal sent
            while sent < total:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536

        talking = asyncio.ensure_future(talk())

        await eventually_async(stuck(lambda: sent), "the client waits for the server", FAR)
        assert sent < total // 2
        read_on.set()
        await asyncio.wait_for(talking, FAR)
        writer.close()


@on_uvloop
async def test_either_end_that_closes_closes_the_other(
    tmp_path: Path, authority: Authority
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def take_one(reader: StreamReader, writer: StreamWriter) -> None:
        heard.put_nowait(await reader.read(5))
        writer.write(b"bye")
        if await heard_all(reader):
            heard.put_nowait(b"gone")
        writer.close()

    async def heard_all(reader: StreamReader) -> bool:
        return await reader.read() == b""

    async def hang_up(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async with opened(tmp_path, authority, take_one) as at:
        reader, writer = await at.connect()
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(3), FAR) == b"bye"
        writer.close()
        assert await asyncio.wait_for(heard.get(), FAR) == b"hello"
        assert await asyncio.wait_for(heard.get(), FAR) == b"gone"
    async with opened(tmp_path, authority, hang_up) as at:
        reader, writer = await at.connect()
        assert await asyncio.wait_for(reader.read(), FAR) == b"bye"
        writer.close()


@on_uvloop
async def test_nothing_of_a_connection_waits_for_the_collector(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL has 30 kB for each, of which the collector knows nothing, and it comes seldom."""
    monkeypatch.setattr(line_module, "CLOSE_DEADLINE", 0.05)
    async with opened(tmp_path, authority, echo) as at:
        gc.disable()
        try:
            reader, writer = await at.connect()
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), FAR) == b"hello"
            (session,) = [weakref.ref(each._session) for each in at.port._lines.values()]
            writer.close()

            async def is_gone() -> bool:
                return session() is None

            await eventually_async(is_gone, "nothing of it is left", FAR)
        finally:
            gc.enable()


async def refused(at: At, *said: bytes) -> None:
    """Connect in the clear, say something, and be hung up on."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.number)
    for each in said:
        writer.write(each)
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), FAR)
    writer.close()


@on_uvloop
async def test_why_a_handshake_failed_is_told_once(tmp_path: Path, authority: Authority) -> None:
    async with opened(tmp_path, authority, echo) as at:
        with capture_logs() as log:
            for _ in range(3):
                await refused(at, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            reader, writer = await at.connect("http/1.1")
            assert await asyncio.wait_for(reader.read(), FAR) == b""
            writer.close()
            _, gone = await asyncio.open_connection("127.0.0.1", at.number)
            gone.close()  # As a look whether anybody listens.
            await say_something(at)
    assert [each["event"] for each in log] == ["TLS handshake failed"] * 2
    assert log[0]["reason"] in ("http request", "wrong version number")
    assert "ALPN" in log[1]["reason"]
    assert log[0]["peer"].startswith("ipv4:127.0.0.1:")


@on_uvloop
async def test_who_does_not_come_through_in_time_is_let_go(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "HANDSHAKE_DEADLINE", 0.05)
    async with opened(tmp_path, authority, echo) as at:
        with capture_logs() as log:
            await refused(at)
    assert [each["reason"] for each in log] == ["it took too long"]


@on_uvloop
async def test_a_session_is_left_to_the_thread_that_is_at_it(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    shake, unsent, go_on = Session.shake, Session.unsent, threading.Event()
    at_it: set[Session] = set()
    taken: list[bool] = []

    def slowly(session: Session, data: bytes) -> bool:
        at_it.add(session)
        go_on.wait(FAR)
        found = shake(session, data)
        at_it.discard(session)
        return found

    def looked(session: Session) -> bytes:
        taken.append(session in at_it)
        return unsent(session)

    monkeypatch.setattr(Session, "shake", slowly)
    monkeypatch.setattr(Session, "unsent", looked)
    monkeypatch.setattr(port_module, "HANDSHAKE_DEADLINE", 0.05)
    async with opened(tmp_path, authority, echo) as at:
        with suppress(ConnectionError):
            await asyncio.wait_for(at.connect(), FAR)
        go_on.set()
        monkeypatch.setattr(port_module, "HANDSHAKE_DEADLINE", FAR)
        await say_something(at)
    assert not any(taken)


@on_uvloop
async def test_who_says_no_more_and_does_not_read_is_let_go(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "CLOSE_DEADLINE", 0.05)
    said, gone = 0, asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        nonlocal said
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(bytes(65536))
                await writer.drain()
                said += 1
        gone.set()

    async with opened(tmp_path, authority, talk) as at:
        _, writer = await at.connect()
        await eventually_async(stuck(lambda: said), "the server waits for its client", FAR)
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as client:
            client.shutdown(socket.SHUT_WR)  # Its end of TCP; TLS is told nothing.
        await asyncio.wait_for(gone.wait(), FAR)


@on_uvloop
async def test_without_a_server_inside_the_client_is_hung_up_on(
    tmp_path: Path, authority: Authority
) -> None:
    async with opened(tmp_path, authority, echo) as at:
        at.inside.close()
        reader, writer = await at.connect()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), FAR) == b""
        writer.close()


@on_uvloop
async def test_the_end_waits_only_a_moment_for_who_does_not_read(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "_FAREWELL", 0.05)
    there = asyncio.Event()

    async def talk(reader: StreamReader, writer: StreamWriter) -> None:
        there.set()
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(bytes(65536))
                await writer.drain()
        writer.close()

    async with opened(tmp_path, authority, talk) as at:
        reader, writer = await at.connect()
        await asyncio.wait_for(there.wait(), FAR)
        await at.port.refuse()
        await asyncio.wait_for(at.port.finish(), FAR)
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), FAR)
        writer.close()


class Full:
    """A transport whose client takes nothing."""

    def __init__(self) -> None:
        self.waiting = 0
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def is_closing(self) -> bool:
        return self.is_aborted

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.is_aborted = True


class Chatty:
    """A session that is made to answer to whatever comes: new keys are agreed on so."""

    ended = False

    def opened(self, _: bytes) -> bytes:
        return b""

    def unsent(self) -> bytes:
        return bytes(1024)


def test_who_makes_tls_talk_and_does_not_listen_has_to_go() -> None:
    line = Line(Chatty(), "ipv4:192.0.2.1:1", lambda: None)  # type: ignore[arg-type]
    client = Full()
    line.connection_made(client)
    for _ in range(2 * MOST_UNREAD // 1024):
        line.data_received(b"")
    assert client.is_aborted
    assert client.waiting <= MOST_UNREAD + 1024
