"""What is said over TLS, and how it ends: real sockets, the product's loop."""

import asyncio
import gc
import os
import socket
import threading
import weakref
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pdp.serve.secure import line as line_module
from pdp.serve.secure import port as port_module
from pdp.serve.secure.line import MOST_UNREAD, Line
from pdp.serve.secure.port import TlsPort
from tests.pki import Authority
from tests.stack import eventually_async
from tests.unit.serve.tls_at import (
    FAR,
    echo,
    on_uvloop,
    opened,
    say_something,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def slow_connects(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have connections to the server take until this is set."""
    connect, done = TlsPort._connect, threading.Event()

    def connect_slowly(port: TlsPort) -> Any:
        connected = connect(port)
        done.wait(FAR)
        return connected

    monkeypatch.setattr(TlsPort, "_connect", connect_slowly)
    yield done
    done.set()


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
async def test_who_has_just_come_through_is_not_given_up_at_the_end(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, endings = Line.connection_made, list[asyncio.Future[None]]()
    async with opened(tmp_path, authority, echo) as at:

        def made_at_the_end(line: Line, transport: Any) -> None:
            made(line, transport)
            endings.append(asyncio.ensure_future(at.port.refuse()))

        monkeypatch.setattr(Line, "connection_made", made_at_the_end)
        await say_something(at)
        await asyncio.gather(*endings)


@on_uvloop
async def test_who_is_on_the_way_to_the_server_is_not_given_up_at_the_end(
    tmp_path: Path, authority: Authority, slow_connects: threading.Event
) -> None:
    there = asyncio.Event()

    async def greet(reader: StreamReader, writer: StreamWriter) -> None:
        there.set()
        await echo(reader, writer)

    async with opened(tmp_path, authority, greet) as at:
        saying = asyncio.ensure_future(say_something(at))
        await asyncio.wait_for(there.wait(), FAR)
        ending = asyncio.ensure_future(at.port.refuse())
        await asyncio.sleep(0)
        slow_connects.set()
        await saying
        await ending


@on_uvloop
async def test_what_is_connected_too_late_is_closed(
    tmp_path: Path, authority: Authority, slow_connects: threading.Event
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: StreamReader, writer: StreamWriter) -> None:
        heard.put_nowait(b"hello")
        heard.put_nowait(await reader.read())
        writer.close()

    async with opened(tmp_path, authority, hear) as at:
        reader, writer = await at.connect()
        assert await asyncio.wait_for(heard.get(), FAR) == b"hello"
        for task in at.port._greeting:  # As its deadline does.
            task.cancel()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), FAR) == b""
        assert heard.empty()
        slow_connects.set()
        assert await asyncio.wait_for(heard.get(), FAR) == b""
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
