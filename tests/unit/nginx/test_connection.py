"""What the port does with hostile, slow and too many connections."""

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from adapters.nginx.bounds import Bounds
from adapters.nginx.connection import Connection
from tests.stack import eventually_async
from tests.unit.nginx.line import BODY, chunked, port, request
from tests.wire.harness import Desk, record

SMALL = Bounds(max_body=1000, max_head=2000)


@pytest.fixture
def desk() -> Desk:
    return Desk(record("leaf"))


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /decide HTTP/1.1\nhost: a\n\n",
        b"POST /decide HTTP/9.9\r\n\r\n",
        request(more="a : b\r\n"),
        request(more="a: b\r\n c\r\n"),
        request(more="a: b\0c\r\n"),
        request(more="no colon\r\n"),
        request(more="content-length: 0\r\n"),
        request(framing="content-length: +3"),
        request(framing="content-length: -1"),
        request(framing="content-length: 99999999999999999999999"),
        request(framing=f"content-length: {len(BODY)}\r\ntransfer-encoding: chunked"),
        request(framing="transfer-encoding: gzip"),
        request(framing="transfer-encoding: chunked, identity"),
        request(b"0x22\r\n" + BODY, framing="transfer-encoding: chunked"),
        request(b"5;a\nb\r\n12345", framing="transfer-encoding: chunked"),
        request(more="connection: upgrade\r\nupgrade: h2c\r\n"),
        b"CONNECT llm.test:443 HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_plain_request_ends_the_connection(
    desk: Desk, tmp_path: Path, sent: bytes
) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(sent + request(request_id="behind"))
        heard = await line.hear()
        assert (heard.status, heard.code) == (400, "invalid_request")
        assert heard.headers["connection"] == "close"
        assert await line.ended()
    assert not desk.sink.records


@pytest.mark.parametrize(
    ("path", "method"), [("/", "POST"), ("/decide/", "POST"), ("/decide?a=b", "GET")]
)
async def test_other_paths_are_not_ours(desk: Desk, tmp_path: Path, path: str, method: str) -> None:
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request(path=path))
    assert (heard.status, heard.code) == (404, "route_not_allowed")


@pytest.mark.parametrize(
    "sent",
    [
        request(framing="content-length: 1001"),
        request(b" " * 1001, framing="content-length: 1001"),
        request(chunked(b" " * 900, b" " * 101), framing="transfer-encoding: chunked"),
        request(b"3e9\r\n" + b" " * 1001, framing="transfer-encoding: chunked"),
    ],
    ids=["told", "sent", "in chunks", "in one chunk"],
)
async def test_a_body_over_the_bound_is_refused_without_its_rest(
    desk: Desk, tmp_path: Path, sent: bytes
) -> None:
    async with port(desk, tmp_path, SMALL) as nginx:
        line = await nginx.line()
        line.send(sent)
        heard = await line.hear()
        assert (heard.status, heard.code) == (413, "body_too_large")
        assert heard.headers["x-request-id"] == "r1"
        line.send(b" " * 100_000 + request())  # Nobody reads it as a request.
        assert await line.ended()
        assert nginx.server._house.buffered == 0
    assert not desk.sink.records
    assert desk.stats.checks == {("deny", "body_too_large", "nginx"): 1}


async def test_a_body_at_the_bound_passes(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path, SMALL) as nginx:
        heard = await nginx.ask(request(BODY + b" " * (1000 - len(BODY))))
    assert heard.status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /" + b"a" * 3000,
        b"POST /decide HTTP/1.1\r\n" + b"a: b\r\n" * 500,
        b"POST /decide HTTP/1.1\r\na: " + b"b" * 3000,
        request(b"", framing="transfer-encoding: chunked") + b"1;" + b"e" * 700_000,
    ],
    ids=["path", "headers", "value", "chunk extension"],
)
async def test_heads_without_end_are_refused(desk: Desk, tmp_path: Path, sent: bytes) -> None:
    async with port(desk, tmp_path, SMALL) as nginx:
        heard = await nginx.ask(sent)
        assert (heard.status, heard.code) == (431, "invalid_request")


async def test_trailers_are_no_headers(desk: Desk, tmp_path: Path) -> None:
    body = chunked(BODY)[:-2] + b"authorization: Bearer leaf\r\n\r\n"
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request(body, key="", framing="transfer-encoding: chunked") + request())
        assert [(await line.hear()).status for _ in range(2)] == [401, 200]


async def test_bodies_have_a_bound_together(desk: Desk, tmp_path: Path) -> None:
    bounds = Bounds(most_buffered=100)
    async with port(desk, tmp_path, bounds) as nginx:
        waiting = await nginx.line()
        waiting.send(request(b" " * 80, framing="content-length: 81"))
        await eventually_async(lambda: _buffers(nginx, 80), "a body is on its way")
        heard = await nginx.ask(request())
        assert (heard.status, heard.code) == (503, "unavailable")
        waiting.send(b" ")
        assert (await waiting.hear()).status == 400
        assert (await nginx.ask(request())).status == 200
        gone = await nginx.line()
        gone.send(request(b" " * 80, framing="content-length: 81"))
        await eventually_async(lambda: _buffers(nginx, 80), "a body is on its way")
        await gone.close()
        await eventually_async(lambda: _buffers(nginx, 0), "it is let go with its connection")


async def _buffers(nginx: Any, size: int) -> bool:
    return bool(nginx.server._house.buffered == size)


async def test_a_body_that_breaks_off_does_not_wait_for_the_collector(
    desk: Desk, tmp_path: Path
) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request(b" " * 80, framing="content-length: 81"))
        await eventually_async(lambda: _buffers(nginx, 80), "a body is on its way")
        connection = weakref.ref(only(nginx))

        async def is_gone() -> bool:
            return connection() is None

        gc.disable()
        try:
            await line.close()
            await eventually_async(is_gone, "nothing of it is left")
        finally:
            gc.enable()


async def test_who_idles_longest_goes_when_there_are_too_many(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path, Bounds(connections=2)) as nginx:
        first, second = await nginx.line(), await nginx.line()
        for line in (first, second, first):
            line.send(request())
            assert (await line.hear()).status == 200
        third = await nginx.line()
        third.send(b"POST /dec")
        assert await second.ended()
        first.send(b"POST /dec")
        await eventually_async(lambda: _busy(nginx), "both are on their way")
        heard = await (await nginx.line()).hear()
        assert (heard.status, heard.code) == (503, "unavailable")


async def _busy(nginx: Any) -> bool:
    return not any(one.idle for one in nginx.server._house.connections)


@pytest.mark.parametrize(
    ("sent", "bounds"),
    [
        (b"", Bounds(idle=10)),
        (request(), Bounds(idle=10)),
        (b"P", Bounds(receiving=10)),
        (request(b" " * 9, framing="content-length: 10"), Bounds(receiving=10)),
        (b"nonsense\r\n\r\n", Bounds(lingering=10)),
    ],
    ids=["silence", "silence after a request", "half a head", "half a body", "lingering"],
)
async def test_slow_connections_end(
    desk: Desk, tmp_path: Path, sent: bytes, bounds: Bounds
) -> None:
    async with port(desk, tmp_path, bounds) as nginx:
        line = await nginx.line()
        line.send(sent)
        house = nginx.server._house
        await eventually_async(lambda: _in(nginx), "the connection is there")
        (connection,) = house.connections
        assert isinstance(connection, Connection)
        if sent and (sent == request() or sent.startswith(b"nonsense")):
            await line.hear()
        else:
            await eventually_async(lambda: _as_sent(connection, sent), "what was sent is there")
        house.sweep(connection.since + 9.9)
        assert not connection._transport.is_closing()
        house.sweep(connection.since + 10.1)
        assert connection._transport.is_closing()


async def _in(nginx: Any) -> bool:
    return bool(nginx.server._house.connections)


async def _as_sent(connection: Connection, sent: bytes) -> bool:
    return connection.idle != bool(sent)


def only(nginx: Any) -> Connection:
    (connection,) = nginx.server._house.connections
    assert isinstance(connection, Connection)
    return connection


async def test_who_does_not_read_is_not_read_from(desk: Desk, tmp_path: Path) -> None:
    bounds = Bounds(receiving=10)
    async with port(desk, tmp_path, bounds) as nginx:
        line = await nginx.line()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await eventually_async(lambda: _in(nginx), "the connection is there")
        connection = only(nginx)
        while not connection._paused:
            line.send(request(b"{") * 100)
            await asyncio.sleep(0)
        since = connection.since
        nginx.server._house.sweep(since + 10.1)
        assert connection._transport.is_closing()


async def test_who_reads_again_is_read_from_again(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await eventually_async(lambda: _in(nginx), "the connection is there")
        connection = only(nginx)
        sent = 0
        while not connection._paused:
            line.send(request(b"{") * 100)
            sent += 100
            await asyncio.sleep(0)
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(sent):
            assert (await line.hear()).status == 400


async def test_at_the_end_idle_connections_are_closed_and_others_answered(
    desk: Desk, tmp_path: Path
) -> None:
    known = asyncio.Event()
    keys = desk.keys

    async def look(api_key: str) -> Any:
        await known.wait()
        return keys.lookup(api_key)

    async with port(desk, tmp_path) as nginx:
        idle, busy = await nginx.line(), await nginx.line()
        idle.send(request(request_id="idle"))
        assert (await idle.hear()).status == 200
        desk.engine._keys = type("Later", (), {"lookup": staticmethod(look)})()
        busy.send(request(request_id="busy"))
        await eventually_async(lambda: _deciding(nginx), "it is being decided")
        stopping = asyncio.ensure_future(nginx.server.stop())
        assert await idle.ended()
        known.set()
        heard = await busy.hear()
        assert (heard.status, heard.headers["connection"]) == (200, "close")
        await stopping


async def _deciding(nginx: Any) -> bool:
    return any(one._deciding for one in nginx.server._house.connections)


async def _full(connection: Connection) -> bool:
    return len(connection._waiting) >= 16


async def test_many_pipelined_requests_wait_outside(desk: Desk, tmp_path: Path) -> None:
    known = asyncio.Event()
    keys = desk.keys

    async def look(api_key: str) -> Any:
        await known.wait()
        return keys.lookup(api_key)

    desk.engine._keys = type("Later", (), {"lookup": staticmethod(look)})()
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        for number in range(3000):
            line.send(request(request_id=f"r{number}"))
        await eventually_async(lambda: _deciding(nginx), "it is being decided")
        connection = only(nginx)
        await eventually_async(lambda: _full(connection), "it takes no more")
        assert len(connection._waiting) < 2500
        known.set()
        for _ in range(3000):
            assert (await line.hear()).status == 200
