"""Windows and rates: days, months, bursts."""

import pytest

from pdp.quota.hold import Admitted, Refused
from tests.contract.conftest import MakeWorld
from tests.contract.world import HOUR, NOON, SECOND, USD


async def test_a_hold_settles_in_the_windows_of_its_admission(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"daily": 100}})
    w.now = NOON + 12 * HOUR - 1
    hold = w.hold(USD, 10)
    await w.reserve(hold)
    w.now += 1
    assert await w.money() == ((0, 0), (0, USD), (0, USD))
    await w.check(5, 5)
    await w.settle(hold, USD, 10)
    assert await w.money() == ((0, 5), (USD, 5), (USD, 5))
    assert await w.fill("token_limits.daily") == (0, 5)
    w.now -= 1
    assert await w.money() == ((USD, 0), (USD, 5), (USD, 5))


async def test_a_new_day_has_a_new_budget_and_a_month_goes_on(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"daily": 1.0, "monthly": 2.0}})
    for _ in range(2):
        hold = w.hold(USD)
        assert isinstance(await w.reserve(hold), Admitted)
        await w.settle(hold, USD)
        assert isinstance(await w.check(1), Refused)
        w.now += 24 * HOUR
    refused = await w.check(1)
    assert isinstance(refused, Refused)
    assert refused.limit.name == "budget_limits.monthly"


@pytest.mark.parametrize("timezone", ["America/New_York", "Europe/Berlin", "Pacific/Kiritimati"])
async def test_another_timezone_forgets_nothing_of_what_was_spent(
    world: MakeWorld, timezone: str
) -> None:
    w = world(root={"budget_limits": {"daily": 3.0, "monthly": 9.0}})
    settled, held = w.hold(USD), w.hold(USD)
    await w.reserve(settled)
    await w.reserve(held)
    await w.settle(settled, USD)
    w.move(timezone)
    assert await w.money() == ((USD, USD),) * 3
    assert isinstance(await w.check(USD + 1), Refused)
    assert isinstance(await w.check(USD), Admitted)
    await w.settle(held, 0)
    assert await w.money() == ((USD, USD),) * 3
    w.now = w.calendar.day(w.now)[1] * SECOND
    assert await w.money() == ((0, 0), (USD, USD), (USD, USD))


async def test_a_clock_that_goes_back_finds_the_day_as_it_was(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"daily": 1.0}})
    await w.check(USD)
    w.now += 24 * HOUR
    assert isinstance(await w.check(USD), Admitted)
    w.now -= 24 * HOUR
    assert isinstance(await w.check(1), Refused)
    w.now -= 24 * HOUR
    assert isinstance(await w.check(1), Admitted)
    w.now += 48 * HOUR
    assert isinstance(await w.check(1), Refused)
    assert await w.money() == ((0, USD), (0, 2 * USD + 1), (0, 2 * USD + 1))


async def test_a_clock_that_was_ahead_at_first_is_no_trouble(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"daily": 1.0, "monthly": 1.5}})
    w.now += 40 * 24 * HOUR
    hold = w.hold(USD)
    await w.reserve(hold)
    w.now = NOON
    assert isinstance(await w.check(USD), Admitted)
    assert await w.money() == ((0, USD), (0, USD), (0, 2 * USD))
    refused = await w.check(USD)
    assert isinstance(refused, Refused)
    assert refused.limit.name == "budget_limits.daily"
    await w.settle(hold, USD)
    assert await w.money() == ((0, USD), (0, USD), (USD, USD))


async def test_spend_counts_before_there_is_a_limit(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD, 10)
    await w.reserve(hold)
    await w.settle(hold, USD, 10)
    limited = world(leaf={"budget_limits": {"daily": 1.0}, "token_limits": {"monthly": 50}})
    assert await limited.fill("budget_limits.daily") == (USD, 0)
    assert await limited.fill("token_limits.monthly") == (10, 0)
    assert isinstance(await limited.check(1), Refused)


async def test_a_burst_and_then_the_steady_rate(world: MakeWorld) -> None:
    w = world(leaf={"rate_limits": {"per_minute": 60, "burst": 10}})
    for _ in range(10):
        assert isinstance(await w.check(), Admitted)
    refused = await w.check()
    assert isinstance(refused, Refused)
    assert refused.retry_after == SECOND
    w.now += SECOND - 1
    assert isinstance(await w.check(), Refused)
    w.now += 1
    assert isinstance(await w.check(), Admitted)
    assert isinstance(await w.check(), Refused)


async def test_waiting_as_long_as_told_is_enough_for_every_rate(world: MakeWorld) -> None:
    w = world(
        leaf={"rate_limits": {"per_second": 1, "per_minute": 2}},
        root={"rate_limits": {"per_hour": 2}},
    )
    assert isinstance(await w.check(), Admitted)
    w.now += SECOND
    assert isinstance(await w.check(), Admitted)
    refused = await w.check()
    assert isinstance(refused, Refused)
    assert refused.limit.name == "rate_limits.per_second"
    assert refused.retry_after is not None
    w.now += refused.retry_after
    assert isinstance(await w.check(), Admitted)


async def test_a_long_form_and_a_shorthand_of_one_period_both_apply(world: MakeWorld) -> None:
    w = world(
        leaf={
            "rate_limits": {"per_minute": 60, "burst": 2},
            "permissions": {"rate_limit_per_minute": 3},
        }
    )
    names = []
    for _ in range(4):
        verdict = await w.check()
        names.append(verdict.limit.name if isinstance(verdict, Refused) else "")
        w.now += SECOND
    assert names == ["", "", "", "permissions.rate_limit_per_minute"]


async def test_a_rate_shows_what_is_used_and_when_it_is_whole(world: MakeWorld) -> None:
    w = world(leaf={"rate_limits": {"per_minute": 6}})
    await w.check()
    await w.check()
    (status,) = await w.status()
    assert (status.limit, status.spent, status.held, status.unit) == (6, 2, 0, "requests")
    assert status.reset_at == NOON + 20 * SECOND
    w.now += 20 * SECOND
    (status,) = await w.status()
    assert (status.spent, status.reset_at) == (0, w.now)
