"""The engine over ports that make it wait, fail, or change their mind."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from pdp.counters.memory import EXPIRED_KEPT, MemoryCounters
from pdp.errors import SpoolFailed, Unavailable
from pdp.key import CompiledKey
from pdp.model import Decision, Reported, Request, Usage
from pdp.quota.hold import BudgetGuard, GuardFailed
from pdp.records import Record, Settled
from pdp.reporting import MOST_EXPIRED
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
    """A sink that writes nothing while `full`; `keeps` tells whether it remembers."""

    def __init__(self, *, keeps: bool) -> None:
        super().__init__()
        self.full = True
        self._keeps = keeps

    def append(self, record: Record) -> None:
        if self.full:
            self.owing = self._keeps
            raise SpoolFailed("no space left on device", kept=self._keeps)
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
    await desk.engine.expire()
    assert desk.stats.holds_expired == 1


async def test_of_two_reports_of_one_hold_at_once_one_wins() -> None:
    desk = Desk(LEAF, counters=Slow(MemoryCounters(), "withdraw", "settle"))
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
    disk = FullDisk(keeps=False)
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


async def test_a_full_disk_that_is_remembered_settles_and_acknowledges_later() -> None:
    disk = FullDisk(keeps=True)
    desk = Desk(LEAF, sink=disk)
    assert (await check(desk)).allowed
    usage = Usage(key_id="leaf", request_id="r1", prompt_tokens=1)
    for _ in range(2):
        answer = await report(desk, usage)
        assert (answer.code, "not on disk" in answer.message) == ("unavailable", True)
    assert (await check(desk, ask("r2"))).allowed, "the hold made room"
    desk.clock.now = NOON + 601 * 10**9
    await desk.engine.expire()
    assert desk.stats.holds_expired == 1
    disk.full = disk.owing = False
    assert (await report(desk, usage)).result == "duplicate"


async def test_a_permission_that_nobody_got_gives_its_hold_back() -> None:
    desk = Desk(LEAF)
    decision = await check(desk)
    withdrawn = desk.engine.withdraw(decision)
    assert isinstance(withdrawn, Reported)
    assert withdrawn.result == "accepted"
    assert desk.engine.withdraw(decision) is None
    assert (await check(desk, ask("r2"))).allowed
    assert desk.engine.withdraw(desk.engine.deny("missing_key", "no")) is None
    assert [type(each).__name__ for each in desk.sink.records] == ["Held", "Settled", "Held"]


async def test_a_hold_that_another_caller_relies_on_is_not_given_back() -> None:
    desk = Desk(LEAF)
    first, retry = await check(desk), await check(desk)
    assert first.reservation_id == retry.reservation_id
    assert desk.engine.withdraw(first) is None
    usage = Usage(reservation_id=retry.reservation_id, prompt_tokens=1000)
    assert (await report(desk, usage)).result == "accepted"
    spent = sum(status.spent for status in (await check(desk, ask("r2"))).limits)
    assert spent == 1_000_000


async def test_a_hold_goes_when_the_last_of_its_callers_is_gone() -> None:
    desk = Desk(LEAF)
    answers = [await check(desk) for _ in range(3)]
    assert [desk.engine.withdraw(each) for each in answers[:2]] == [None, None]
    last = desk.engine.withdraw(answers[2])
    assert isinstance(last, Reported)
    assert last.result == "accepted"
    assert (await check(desk, ask("r2"))).allowed


async def test_a_request_id_that_is_in_use_is_relied_on_by_its_own_request_alone() -> None:
    desk = Desk(LEAF)
    first = await check(desk)
    other = await check(desk, replace(ask(), prompt_tokens=1))
    assert other.reason == "invalid_request"
    withdrawn = desk.engine.withdraw(first)
    assert isinstance(withdrawn, Reported)
    assert withdrawn.result == "accepted"


async def test_what_counters_that_are_away_cannot_give_back_is_given_back_later() -> None:
    counters = Broken(MemoryCounters(), "withdraw")
    desk = Desk(LEAF, counters=counters)
    assert desk.engine.withdraw(await check(desk)) is None
    await desk.engine.expire()
    assert sum(status.held for status in (await check(desk, ask("r2"))).limits) == 1_000_000
    counters._names = ()
    await desk.engine.expire()
    assert (await check(desk, ask("r3"))).allowed
    assert [type(each).__name__ for each in desk.sink.records[-2:]] == ["Settled", "Held"]


async def test_what_is_to_be_given_back_later_does_not_hold_everybody_up() -> None:
    counters = Broken(MemoryCounters(), "withdraw")
    desk = Desk(record("leaf"), counters=counters)
    for number in range(MOST_EXPIRED + 1):
        desk.engine.withdraw(await check(desk, ask(f"r{number}")))
    counters._names = ()
    for settled in (MOST_EXPIRED, MOST_EXPIRED + 1):
        await desk.engine.expire()
        assert sum(isinstance(each, Settled) for each in desk.sink.records) == settled


async def test_what_cannot_be_written_off_is_given_back_later() -> None:
    disk = FullDisk(keeps=False)
    desk = Desk(LEAF, sink=disk)
    assert desk.engine.withdraw(await check(desk)) is None
    disk.full = False
    await desk.engine.expire()
    assert (await check(desk, ask("r2"))).allowed


async def test_a_correction_that_comes_much_too_late_is_written_nowhere() -> None:
    desk = Desk(LEAF)
    decision = await check(desk)
    desk.clock.now = NOON + 601 * 10**9
    await desk.engine.expire()
    desk.clock.now += EXPIRED_KEPT
    usage = Usage(reservation_id=decision.reservation_id, prompt_tokens=1)
    assert (await report(desk, usage)).result == "duplicate"
    assert [type(each).__name__ for each in desk.sink.records] == ["Held", "Expired"]


async def test_the_records_tell_of_nothing_that_did_not_happen() -> None:
    desk = Desk(LEAF)
    decision = await check(desk)
    desk.clock.now = NOON + 601 * 10**9
    await desk.engine.expire()
    # The last moment in which the hold can be corrected; it is over at the next tick.
    clock = Ticking(desk.clock.now + EXPIRED_KEPT - 1)
    desk.engine._reporter._clock = clock
    usage = Usage(reservation_id=decision.reservation_id, prompt_tokens=1)
    await report(desk, usage)
    replayed = MemoryCounters()
    for each in desk.sink.records:
        replayed.apply(each)
    leaf = desk.keys.by_id("leaf")
    assert isinstance(leaf, CompiledKey)
    scope = leaf.plan.scopes[0]
    assert replayed.spent(scope, "total", clock()) == desk.counters.spent(scope, "total", clock())


class Ticking:
    """A clock that goes on each time it is read."""

    def __init__(self, now: int) -> None:
        self._now = now

    def __call__(self) -> int:
        self._now += 1
        return self._now - 1


async def test_a_call_that_is_cancelled_is_neither_allowed_nor_counted() -> None:
    desk = Desk(LEAF, keys=Slow(Keys(LEAF), "lookup", "by_id"))
    for answer in (desk.engine.check(ask()), desk.engine.report(USAGE)):
        assert not isinstance(answer, Decision | Reported)
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (desk.sink.records, desk.stats.checks, desk.stats.reports) == ([], {}, {})


async def test_slow_counters_give_a_hold_back_as_well() -> None:
    desk = Desk(LEAF, counters=Slow(MemoryCounters(), "withdraw", "settle"))
    withdrawn = desk.engine.withdraw(await check(desk))
    assert withdrawn is not None
    assert not isinstance(withdrawn, Reported)
    reported = await withdrawn
    assert reported is not None
    assert reported.result == "accepted"


async def test_a_hold_that_cannot_be_written_off_is_tried_again() -> None:
    disk = FullDisk(keeps=False)
    desk = Desk(LEAF, sink=disk)
    await check(desk)
    desk.clock.now = NOON + 601 * 10**9
    await desk.engine.expire()
    assert desk.stats.holds_expired == 0
    disk.full = False
    await desk.engine.expire()
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
