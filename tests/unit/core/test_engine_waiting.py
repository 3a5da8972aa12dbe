"""The engine over ports that make it wait, fail, or change their mind."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pdp.counters.memory import MemoryCounters
from pdp.errors import SpoolFailed, Unavailable
from pdp.model import Decision, Reported, Request, Usage
from pdp.quota.hold import BudgetGuard, GuardFailed
from pdp.spool.records import Record
from tests.wire.harness import NOON, Desk, Keys, ListSink, record

LEAF = record("leaf", budget_limits={"daily": 0.0016})
USAGE = Usage(key_id="leaf", request_id="r1", model="gpt-4o", prompt_tokens=500)
GUARD = BudgetGuard("leaf", "day", under=True, amount=1)


def ask(request_id: str = "r1") -> Request:
    """0.001 USD."""
    return Request(
        request_id,
        "leaf",
        "chat:completions",
        "gpt-4o",
        prompt_tokens=1000,
        max_output_tokens=0,
        metadata={"app": "web"},
    )


class Slow:
    """Wraps a port so that the named methods answer a moment later."""

    def __init__(self, port: Any, *names: str) -> None:
        self._port = port
        self._names = names

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return self._later(method) if name in self._names else method

    @staticmethod
    def _later(method: Callable[..., Any]) -> Callable[..., Any]:
        async def late(*arguments: Any) -> Any:
            await asyncio.sleep(0)
            return method(*arguments)

        return late


class Broken:
    """A port whose named methods cannot answer."""

    def __init__(self, port: Any, *names: str, late: bool = False) -> None:
        self._port = port
        self._names = names
        self._late = late

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            return getattr(self._port, name)

        def fail(*_: Any) -> Any:
            raise Unavailable("the counters are away", retry_after=7)

        async def fail_late(*_: Any) -> Any:
            await asyncio.sleep(0)
            return fail()

        return fail_late if self._late else fail


class FullDisk(ListSink):
    """A sink that takes nothing while `full`."""

    full = True

    def append(self, record: Record) -> None:
        if self.full:
            raise SpoolFailed("no space left on device")
        super().append(record)


class Fickle(MemoryCounters):
    """Counters whose guard fails a number of times first."""

    def __init__(self, failures: int, *, late: bool = False) -> None:
        super().__init__()
        self._failures = failures
        self._late = late

    def reserve(self, op: Any) -> Any:
        self._failures -= 1
        verdict = GuardFailed(GUARD) if self._failures >= 0 else super().reserve(op)
        if not self._late:
            return verdict

        async def late() -> Any:
            await asyncio.sleep(0)
            return verdict

        return late()


async def check(desk: Desk, request: Request | None = None) -> Decision:
    answer = desk.engine.check(request or ask())
    return answer if isinstance(answer, Decision) else await answer


async def report(desk: Desk, usage: Usage = USAGE) -> Reported:
    answer = desk.engine.report(usage)
    return answer if isinstance(answer, Reported) else await answer


def test_nothing_waits_when_everything_is_at_hand() -> None:
    desk = Desk(LEAF)
    assert isinstance(desk.engine.check(ask()), Decision)
    assert isinstance(desk.engine.report(USAGE), Reported)


async def test_slow_ports_give_the_same_answers() -> None:
    desk = Desk(
        keys=Slow(Keys(LEAF), "lookup", "by_id"),
        counters=Slow(MemoryCounters(), "reserve", "locate", "settle"),
    )
    assert not isinstance(first := desk.engine.check(ask()), Decision)
    assert (await first).reason == "ok"
    assert (await check(desk, ask("r2"))).reason == "budget_exceeded"
    assert (await report(desk)).result == "accepted"
    assert (await report(desk)).result == "duplicate"
    unchecked = Usage(key_id="leaf", request_id="r9", model="gpt-4o", prompt_tokens=1)
    both = await asyncio.gather(report(desk, unchecked), report(desk, unchecked))
    assert sorted(reported.result for reported in both) == ["accepted", "duplicate"]
    stranger = Usage(key_id="nobody", request_id="r9", prompt_tokens=1)
    assert (await report(desk, stranger)).code == "unknown_key"
    await check(desk, ask("r3"))
    desk.clock.now = NOON + 3600 * 10**9
    assert await desk.engine.expire() == 1


async def test_of_two_reports_of_one_hold_at_once_one_wins() -> None:
    desk = Desk(LEAF, counters=Slow(MemoryCounters(), "locate", "settle"))
    await check(desk)
    both = await asyncio.gather(report(desk), report(desk))
    assert sorted(reported.result for reported in both) == ["accepted", "duplicate"]
    assert desk.stats.reports == {"accepted": 1, "duplicate": 1}


@pytest.mark.parametrize("late", [False, True])
async def test_what_cannot_be_decided_is_a_503_and_never_an_allowance(late: bool) -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"keys": Broken(Keys(LEAF), "lookup", late=late)},
        {"counters": Broken(MemoryCounters(), "reserve", late=late)},
    )
    for parts in cases:
        desk = Desk(LEAF, **parts)
        answer = await check(desk)
        assert (answer.allowed, answer.reason, answer.http_status) == (False, "unavailable", 503)
        assert answer.retry_after == 7 * 10**9
        assert answer.response_headers["retry-after"] == "7"
        assert "x-should-retry" not in answer.response_headers
        assert desk.stats.checks == {("deny", "unavailable", "grpc"): 1}


@pytest.mark.parametrize("late", [False, True])
async def test_a_report_that_cannot_be_placed_is_an_error_to_try_again(late: bool) -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"counters": Broken(MemoryCounters(), "locate", late=late)},
        {"keys": Broken(Keys(LEAF), "by_id", late=late)},
    )
    for parts in cases:
        desk = Desk(LEAF, **parts)
        assert (await report(desk)).code == "unavailable"
        assert desk.sink.records == []


async def test_a_full_disk_changes_no_verdict_but_acknowledges_nothing() -> None:
    disk = FullDisk()
    desk = Desk(LEAF, sink=disk)
    allowed = await check(desk)
    assert allowed.reason == "ok"
    assert (await check(desk, ask("r2"))).reason == "budget_exceeded"
    desk.engine.extend(allowed.reservation_id)
    assert desk.stats.spool_failures == 3
    assert (await report(desk)).code == "unavailable"
    assert sum(status.held for status in (await check(desk, ask("r3"))).limits) == 1_000_000
    disk.full = False
    assert (await report(desk)).result == "accepted"


async def test_a_hold_that_cannot_be_written_off_is_tried_again() -> None:
    disk = FullDisk()
    desk = Desk(LEAF, sink=disk)
    await check(desk)
    desk.clock.now = NOON + 601 * 10**9
    assert await desk.engine.expire() == 0
    disk.full = False
    assert await desk.engine.expire() == 1
    assert desk.stats.holds_expired == 1


@pytest.mark.parametrize("late", [False, True])
async def test_a_guard_that_fails_is_evaluated_again_twice_at_most(late: bool) -> None:
    assert (await check(Desk(LEAF, counters=Fickle(1, late=late)))).reason == "ok"
    answer = await check(Desk(LEAF, counters=Fickle(2, late=late)))
    assert (answer.reason, answer.http_status) == ("unavailable", 503)


async def test_extending_what_is_not_held_writes_nothing() -> None:
    desk = Desk(LEAF)
    desk.engine.extend("res_test-1")
    assert desk.sink.records == []


async def test_a_denial_without_a_key_is_counted_and_nobodys() -> None:
    desk = Desk(LEAF)
    answer = desk.engine.deny("route_not_allowed", "no", "r1", "envoy")
    assert (answer.reason, answer.http_status, answer.key_id) == ("route_not_allowed", 403, "")
    assert desk.stats.checks == {("deny", "route_not_allowed", "envoy"): 1}
    assert desk.sink.records == []


async def test_choices_multiply_the_output() -> None:
    desk = Desk(record("leaf", budget_limits={"total": 100}))
    request = Request("r", "leaf", "chat:completions", "gpt-4o", max_output_tokens=10, choices=3)
    await check(desk, request)
    assert (await check(desk, ask("x"))).reason == "ok"
    held = desk.engine.check(Request("", "leaf", "chat:completions", "gpt-4o", dry_run=True))
    assert isinstance(held, Decision)
    assert held.limits[0].held == 3 * 10 * 2000 + 1_000_000
