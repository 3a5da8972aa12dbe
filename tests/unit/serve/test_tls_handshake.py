"""Who comes through to a port with TLS, and what is said of others."""

import asyncio
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pdp.serve.secure import port as port_module
from pdp.serve.secure.session import Session
from tests.pki import Authority
from tests.stack import eventually_async
from tests.unit.serve.tls_at import (
    FAR,
    At,
    echo,
    on_uvloop,
    opened,
    refused,
    say_something,
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


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
async def test_one_connection_too_many_is_not_taken(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_module, "MOST", 2)
    async with opened(tmp_path, authority, echo) as at:
        (_, first), (reader, second) = await at.connect(), await at.connect()
        with capture_logs() as log:
            for _ in range(3):
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(at.connect(), FAR)
        second.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), FAR) == b"hello"
        first.close()
        await eventually_async(partial(_is_served, at), "there is room again", FAR)
    assert [each["event"] for each in log] == ["a connection was not taken"]


async def _is_served(at: At) -> bool:
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        await say_something(at)
        return True
    return False
