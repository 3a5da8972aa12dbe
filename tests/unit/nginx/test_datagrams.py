"""Usage lines over real UDP sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.nginx.usage import datagrams
from adapters.nginx.usage.channel import Channel
from adapters.nginx.usage.datagrams import Datagrams, bind_datagrams, dropped_by_kernel
from adapters.nginx.usage.intake import Intake
from pdp.errors import StartRefused
from pdp.model import Reported, Usage
from tests.stack import eventually_async
from tests.unit.nginx.desk import Office
from tests.unit.nginx.lines import line

HEADER = b"<190>Nov 28 12:00:00 pdp: "


class Sender:
    """NGINX, as far as it sends."""

    def __init__(self, port: Datagrams) -> None:
        host, _, number = port.address.rpartition(":")
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.connect((host, int(number)))

    def send(self, *lines: bytes) -> None:
        for each in lines:
            self._socket.send(HEADER + each)

    def send_raw(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def close(self) -> None:
        self._socket.close()


def listening(engine: Any, **options: Any) -> Datagrams:
    bound = bind_datagrams("127.0.0.1:0", "PDP_NGINX_USAGE_LISTEN")
    return Datagrams(bound, Intake(engine, Channel("udp")), **options)


@contextlib.asynccontextmanager
async def running(port: Datagrams) -> AsyncIterator[Sender]:
    task = asyncio.create_task(port.run())
    sender = Sender(port)
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sender.close()


def counts(port: Datagrams) -> dict[str, int]:
    assert {channel for channel, _, _ in port.counts()} == {"udp"}
    return {result: lines for _, result, lines in port.counts()}


async def test_a_burst_is_taken_line_by_line() -> None:
    office = Office()
    lines = [office.allow(number) for number in range(2000)]
    port = listening(office.engine)
    async with running(port) as sender:
        sender.send(*lines)

        async def done() -> bool:
            return office.accepted == 2000

        await eventually_async(done, "all lines are taken")
        sender.send(*lines[:10])

        async def again() -> bool:
            return office.stats.reports.get("duplicate", 0) == 10

        await eventually_async(again, "repeated lines are duplicates")
    assert counts(port) == {"taken": 2010, "malformed": 0, "dropped": 0}
    await port.finish()


async def test_what_is_no_line_is_counted_and_told_once() -> None:
    office = Office()
    good = office.allow(1)
    port = listening(office.engine)
    with capture_logs() as logs:
        async with running(port) as sender:
            for datagram in (b"", b"\xff" * 65_000, b"{}", line(), b"<190>secret", HEADER + b"{}"):
                sender.send_raw(datagram)
            sender.send(good)

            async def done() -> bool:
                return office.accepted == 1

            await eventually_async(done, "the good line is taken")
    assert counts(port) == {"taken": 1, "malformed": 6, "dropped": 0}
    assert [each["event"] for each in logs if each["log_level"] == "warning"][-1:] == [
        "a line is no usage line: check the log format"
    ]
    assert "secret" not in str(logs)
    await port.finish()


async def test_a_usage_that_is_not_known_here_is_told_and_let_go() -> None:
    office = Office()
    port = listening(office.engine)
    with capture_logs() as logs:
        async with running(port) as sender:
            sender.send(line(), line())

            async def done() -> bool:
                return counts(port)["taken"] == 2

            await eventually_async(done, "the lines are let go")
    assert [each["code"] for each in logs if each["event"] == "usage not taken"] == [
        "unknown_reservation"
    ]
    await port.finish()


async def test_lines_beyond_the_queue_are_dropped_and_counted() -> None:
    office = Office()
    lines = [office.allow(number) for number in range(30)]
    port = listening(office.engine, most=20)
    sender = Sender(port)
    sender.send(*lines)
    port._fetch()
    with capture_logs() as logs:
        port._fetch()
    assert counts(port) == {"taken": 0, "malformed": 0, "dropped": 10}
    assert not logs, "told once"
    await port.finish()
    sender.close()
    assert (office.accepted, counts(port)["taken"]) == (20, 20)


async def test_long_lines_take_no_more_memory_than_short_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(datagrams, "MOST_BYTES", 100_000)
    port = listening(Office().engine)
    sender = Sender(port)
    for _ in range(2):
        for _ in range(5):
            sender.send(b"{" + b"x" * 29_999)
            port._fetch()
        assert len(port._queue) == 3
        async with running(port):

            async def done() -> bool:
                return not port._queue

            await eventually_async(done, "what waits is taken")
    assert counts(port) == {"taken": 0, "malformed": 6, "dropped": 4}
    await port.finish()
    sender.close()


async def test_a_line_that_nests_too_deeply_does_not_end_it() -> None:
    office = Office()
    good = office.allow(1)
    port = listening(office.engine)
    async with running(port) as sender:
        sender.send(line(ref='["r","k","q",1,1,false,"",' + "[" * 30_000), good)

        async def done() -> bool:
            return office.accepted == 1

        await eventually_async(done, "the good line is taken")
    assert counts(port) == {"taken": 1, "malformed": 1, "dropped": 0}
    await port.finish()


async def test_what_the_kernel_has_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "WANTED_BUFFER", 4096)
    port = listening(Office().engine)
    sender = Sender(port)
    sender.send(*[line()] * 100)
    assert 0 < counts(port)["dropped"] < 100
    await port.finish()
    sender.close()
    assert dropped_by_kernel(port._socket) == 0, "a closed socket says nothing"


async def test_a_small_buffer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "_SO_RCVBUFFORCE", -1)
    monkeypatch.setattr(datagrams, "WANTED_BUFFER", 2**30)
    with capture_logs() as logs:
        listening(Office().engine)._socket.close()
    assert "net.core.rmem_max" in logs[0]["event"]
    assert 0 < logs[0]["bytes"] < logs[0]["wanted"]


async def test_what_has_come_by_the_end_is_taken() -> None:
    office = Office()
    lines = [office.allow(number) for number in range(500)]
    port = listening(office.engine)
    sender = Sender(port)
    sender.send(*lines)
    await port.finish()
    sender.close()
    assert office.accepted == 500


class Slow:
    """An engine whose spool is full for a while; `reports` are the request ids it was told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.reports: list[str] = []

    def report(self, usage: Usage) -> Reported:
        self.reports.append(usage.request_id)
        if self.failures:
            self.failures -= 1
            return Reported("error", "unavailable", "the spool cannot be written")
        return Reported("accepted")


async def test_a_line_that_cannot_be_written_down_is_said_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("adapters.nginx.usage.intake._RETRY", 0)
    engine = Slow(failures=3)
    port = listening(engine)
    async with running(port) as sender:
        sender.send(line())

        async def done() -> bool:
            return counts(port)["taken"] == 1

        await eventually_async(done, "it is taken")
    assert engine.reports == ["r1"] * 4
    await port.finish()


async def test_what_cannot_be_written_down_at_the_end_is_dropped() -> None:
    port = listening(Slow(failures=3))
    sender = Sender(port)
    sender.send(line(), line())
    await port.finish()
    sender.close()
    assert counts(port) == {"taken": 0, "malformed": 0, "dropped": 2}


class Remote:
    """An engine whose counters are elsewhere, and answer when they are told to."""

    def __init__(self, answer: Reported) -> None:
        self.asked: list[str] = []
        self.ready = asyncio.Event()
        self._answer = answer

    async def report(self, usage: Usage) -> Reported:
        self.asked.append(usage.request_id)
        await self.ready.wait()
        return self._answer


async def test_a_line_that_waits_for_its_counters_does_not_hold_up_the_next() -> None:
    engine = Remote(Reported("accepted"))
    port = listening(engine)
    async with running(port) as sender:
        for number in range(3):
            named = f'["res_{number}","key_1","r{number}",10,14,false,"chat:completions"]'
            sender.send(line(ref=named))

        async def all_are_asked_for() -> bool:
            return sorted(engine.asked) == ["r0", "r1", "r2"]

        await eventually_async(all_are_asked_for, "all are asked for")
        assert counts(port)["taken"] == 0
    engine.ready.set()
    await port.finish()
    assert counts(port) == {"taken": 3, "malformed": 0, "dropped": 0}


async def test_what_waits_in_vain_at_the_end_is_dropped() -> None:
    engine = Remote(Reported("error", "unavailable", "the spool cannot be written"))
    port = listening(engine)
    async with running(port) as sender:
        sender.send(line())

        async def asked() -> bool:
            return engine.asked == ["r1"]

        await eventually_async(asked, "it is asked for")
    engine.ready.set()
    await port.finish()
    assert counts(port) == {"taken": 0, "malformed": 0, "dropped": 1}


async def test_who_is_cancelled_before_a_line_is_taken_has_not_handed_it_over() -> None:
    engine = Slow(failures=0)
    intake = Intake(engine, Channel("udp"))
    for _ in range(10):
        taking = asyncio.create_task(intake.take(line()))
        await asyncio.sleep(0)
    assert not taking.done(), "every tenth lets others go first"
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert len(engine.reports) == intake.channel.taken == 9


async def test_a_defect_costs_one_line_and_is_told_without_it() -> None:
    class Broken:
        def report(self, usage: Usage) -> Reported:
            raise RuntimeError(usage.request_id)

    port = listening(Broken())
    sender = Sender(port)
    sender.send(line())
    with capture_logs() as logs:
        await port.finish()
    sender.close()
    assert counts(port)["taken"] == 1
    assert "r1" not in str(logs)


async def test_checks_come_in_between() -> None:
    office = Office()
    lines = [office.allow(number) for number in range(200)]
    port = listening(office.engine)
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while office.accepted < 200:
            turns += 1
            await asyncio.sleep(0)

    sender = Sender(port)
    sender.send(*lines)
    async with running(port):
        await turn()
    assert turns >= 200 // 10
    sender.close()
    await port.finish()


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "nowhere.invalid:1", "203.0.113.7:9"])
def test_an_address_that_cannot_be_bound_stops_the_start(address: str) -> None:
    with pytest.raises(StartRefused, match=f"PDP_NGINX_USAGE_LISTEN: cannot listen on `{address}`"):
        bind_datagrams(address, "PDP_NGINX_USAGE_LISTEN")


def test_ipv6_is_an_address_as_well() -> None:
    bound = bind_datagrams("[::1]:0", "PDP_NGINX_USAGE_LISTEN")
    assert bound.family == socket.AF_INET6
    bound.close()
