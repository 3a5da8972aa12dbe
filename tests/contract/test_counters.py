"""What every backend of `Counters` does."""

import asyncio
from itertools import pairwise

import pytest

from pdp.quota.hold import Admitted, BudgetGuard, GuardFailed, Refused
from tests.contract.conftest import MakeWorld
from tests.contract.world import HOUR, NOON, SECOND, TTL, USD, answer


async def test_what_fits_is_held_on_the_whole_chain(world: MakeWorld) -> None:
    w = world()
    assert isinstance(await w.check(3 * USD, 10), Admitted)
    for key_id in ("leaf", "team", "root"):
        assert w.money(key_id) == ((0, 3 * USD),) * 3


async def test_a_budget_takes_its_last_nano_dollar_and_not_one_more(world: MakeWorld) -> None:
    w = world(team={"budget_limits": {"daily": 1.0}})
    assert isinstance(await w.check(USD - 1), Admitted)
    refused = await w.check(2)
    assert isinstance(refused, Refused)
    assert (refused.limit.name, refused.limit.key_id) == ("budget_limits.daily", "team")
    assert (refused.asked, refused.spent, refused.held) == (2, 0, USD - 1)
    assert refused.retry_after is None
    assert refused.reset_at == NOON + 12 * HOUR
    assert isinstance(await w.check(1), Admitted)
    assert isinstance(await w.check(1), Refused)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"token_limits": {"per_request_max": 9}}, "token_limits.per_request_max"),
        ({"budget_limits": {"monthly": 0.5}}, "budget_limits.monthly"),
        ({"permissions": {"daily_budget": 0.5}}, "permissions.daily_budget"),
        ({"token_limits": {"daily": 9}}, "token_limits.daily"),
        ({"token_limits": {"total": 9}}, "token_limits.total"),
        ({"max_requests": 0}, "max_requests"),
        ({"permissions": {"max_requests": 0}}, "permissions.max_requests"),
        ({"rate_limits": {"per_minute": 0}}, "rate_limits.per_minute"),
    ],
)
async def test_a_refusal_at_the_root_moves_nothing_below(
    world: MakeWorld, limits: dict[str, object], name: str
) -> None:
    w = world(
        leaf={"rate_limits": {"per_hour": 5}, "max_requests": 5, "budget_limits": {"total": 5.0}},
        root=limits,
    )
    before = w.counters.status(w.scopes, w.now)
    refused = await w.check(USD, 10, "r")
    assert isinstance(refused, Refused)
    assert refused.limit.name == name
    assert w.counters.status(w.scopes, w.now) == before
    assert w.counters.find_open("leaf", "r") is None
    assert w.money("leaf") == ((0, 0),) * 3


async def test_refusals_come_in_the_reason_order_and_leaf_first(world: MakeWorld) -> None:
    limits: dict[str, object] = {
        "rate_limits": {"per_second": 0},
        "max_requests": 0,
        "token_limits": {"daily": 5, "per_request_max": 5},
        "budget_limits": {"daily": 0.1},
    }
    without_size = {**limits, "token_limits": {"daily": 5}}
    steps = [
        (limits, "token_limits.per_request_max"),
        (without_size, "budget_limits.daily"),
        ({**without_size, "budget_limits": None}, "token_limits.daily"),
        ({"rate_limits": limits["rate_limits"], "max_requests": 0}, "max_requests"),
        ({"rate_limits": limits["rate_limits"]}, "rate_limits.per_second"),
    ]
    for place, (root, name) in enumerate(steps):
        # The leaf refuses for the next reason, which comes later all the same.
        leaf = steps[place + 1][0] if place + 1 < len(steps) else {}
        refused = await world(leaf=leaf, root=root).check(USD, 6)
        assert isinstance(refused, Refused)
        assert (refused.limit.name, refused.limit.key_id) == (name, "root")
    refused = await world(leaf=limits, team=limits, root=limits).check(USD, 6)
    assert isinstance(refused, Refused)
    assert refused.limit.key_id == "leaf"


@pytest.mark.parametrize(
    "limits",
    [
        {"budget_limits": {"total": 0}},
        {"token_limits": {"total": 0}},
        {"token_limits": {"per_request_max": 0}},
        {"max_requests": 0},
        {"rate_limits": {"per_day": 0, "burst": 3}},
    ],
)
async def test_a_limit_of_0_blocks_what_costs_nothing_too(
    world: MakeWorld, limits: dict[str, object]
) -> None:
    refused = await world(root=limits).check(0, 0)
    assert isinstance(refused, Refused)
    assert refused.retry_after is None


async def test_an_unknown_price_holds_nothing(world: MakeWorld) -> None:
    w = world()
    assert isinstance(await w.check(None, 5), Admitted)
    assert w.money() == ((0, 0),) * 3


async def test_a_dry_run_answers_and_moves_nothing(world: MakeWorld) -> None:
    w = world(leaf={"rate_limits": {"per_minute": 1}, "max_requests": 1})
    hold = w.hold(USD, 5, "r")
    for _ in range(3):
        assert isinstance(await w.reserve(hold, dry_run=True), Admitted)
    assert w.counters.find_open("leaf", "r") is None
    assert isinstance(await w.reserve(hold), Admitted)
    assert isinstance(await w.reserve(w.hold(), dry_run=True), Refused)


async def test_two_hundred_at_once_against_room_for_fifty(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"total": 50.0}})
    verdicts = await asyncio.gather(*(w.check(USD) for _ in range(200)))
    assert sum(isinstance(each, Admitted) for each in verdicts) == 50
    assert w.fill("budget_limits.total") == (0, 50 * USD)


async def test_the_same_reservation_twice_is_held_once(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    assert isinstance(await w.reserve(hold), Admitted)
    assert w.money()[0] == (0, USD)


# -- Settling


async def test_what_was_used_takes_the_place_of_the_hold(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"daily": 100}, "max_requests": 9})
    hold = w.hold(5 * USD, 50, "r")
    await w.reserve(hold)
    assert await w.settle(hold, 2 * USD, 20)
    assert w.money() == ((2 * USD, 0),) * 3
    assert w.fill("token_limits.daily") == (20, 0)
    assert w.fill("max_requests") == (1, 0)


async def test_the_first_report_wins(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(5 * USD, request_id="r")
    await w.reserve(hold)
    located = await answer(w.counters.locate(hold.reservation_id, "", ""))
    assert located == hold
    assert await answer(w.counters.locate("", "leaf", "r")) == hold
    assert await w.settle(hold, USD)
    assert not await w.settle(hold, 3 * USD)
    assert w.money()[2] == (USD, 0)
    assert await answer(w.counters.locate(hold.reservation_id, "", "")) == "settled"
    assert await answer(w.counters.locate("", "leaf", "r")) == "settled"


@pytest.mark.parametrize(
    "name", ["res_other-100", "res_boot-zzzz", "boot-100", "", "res_", "res_é-1"]
)
async def test_what_was_never_issued_is_unknown(world: MakeWorld, name: str) -> None:
    w = world()
    await w.check()
    found = await answer(w.counters.locate(name, "leaf", "never"))
    assert found == ("unknown" if name else "new")


async def test_a_usage_without_a_hold_counts_once_with_its_request(world: MakeWorld) -> None:
    w = world(root={"max_requests": 10, "token_limits": {"daily": 100}})
    assert await w.charge("r", USD, 7)
    assert not await w.charge("r", USD, 7)
    assert w.money() == ((USD, 0),) * 3
    assert w.fill("max_requests") == (1, 0)
    assert w.fill("token_limits.daily") == (7, 0)
    assert await answer(w.counters.locate("", "leaf", "r")) == "settled"
    assert await answer(w.counters.locate("", "team", "r")) == "new"


async def test_a_report_for_a_request_that_is_held_settles_the_hold(world: MakeWorld) -> None:
    w = world(root={"max_requests": 10})
    await w.check(5 * USD, request_id="r")
    assert await w.charge("r", USD)
    assert w.money()[2] == (USD, 0)
    assert w.fill("max_requests") == (1, 0)


async def test_a_request_id_can_be_used_again_after_its_hold(world: MakeWorld) -> None:
    w = world()
    first = w.hold(USD, request_id="r")
    await w.reserve(first)
    await w.settle(first, USD)
    second = w.hold(2 * USD, request_id="r")
    await w.reserve(second)
    assert w.counters.find_open("leaf", "r") == second
    assert await w.settle(second, 2 * USD)
    assert w.money()[2] == (3 * USD, 0)


async def test_two_holds_of_one_request_are_settled_each_by_its_id(world: MakeWorld) -> None:
    w = world()
    first, second = w.hold(USD, request_id="r"), w.hold(2 * USD, request_id="r")
    await w.reserve(first)
    await w.reserve(second)
    assert w.counters.find_open("leaf", "r") == second
    assert await w.settle(first, USD)
    assert w.counters.find_open("leaf", "r") == second
    assert await w.settle(second, 2 * USD)
    assert w.money()[2] == (3 * USD, 0)


async def test_more_may_be_used_than_was_held(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"total": 1.0}})
    hold = w.hold(USD)
    await w.reserve(hold)
    await w.settle(hold, 3 * USD)
    assert w.fill("budget_limits.total") == (3 * USD, 0)
    assert isinstance(await w.check(0), Refused)


# -- Expiry


async def test_a_hold_is_due_when_its_time_is_over_and_until_it_is_settled(
    world: MakeWorld,
) -> None:
    w = world()
    hold = w.hold(USD)
    await w.reserve(hold)
    assert w.counters.due(NOON + TTL - 1) == []
    assert w.counters.due(NOON + TTL) == [hold]
    assert w.counters.due(NOON + TTL) == [hold]
    assert await w.settle(hold, USD, expired=True)
    assert w.counters.due(NOON + TTL) == []
    assert not await w.settle(hold, USD, expired=True)


async def test_a_heartbeat_puts_the_end_off_and_never_brings_it_forward(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD, request_id="r")
    await w.reserve(hold)
    assert w.counters.extend(hold.reservation_id, NOON + 2 * TTL)
    assert w.counters.extend(hold.reservation_id, NOON)
    assert w.counters.due(NOON + 2 * TTL - 1) == []
    (due,) = w.counters.due(NOON + 2 * TTL)
    assert due.expires_at == NOON + 2 * TTL
    assert w.counters.find_open("leaf", "r") == due
    await w.settle(due)
    assert not w.counters.extend(hold.reservation_id, NOON + 3 * TTL)


async def test_one_late_report_corrects_an_expired_hold(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"total": 1000}})
    hold = w.hold(5 * USD, 50, "r")
    await w.reserve(hold)
    w.now += TTL
    assert await w.settle(hold, 5 * USD, 50, expired=True)
    assert w.counters.find_open("leaf", "r") is None
    assert w.money() == ((5 * USD, 0),) * 3
    w.now += 47 * HOUR
    assert await answer(w.counters.locate("", "leaf", "r")) == hold
    assert await answer(w.counters.locate(hold.reservation_id, "", "")) == hold
    assert await w.settle(hold, USD, 10)
    assert w.money()[2] == (USD, 0)
    assert w.fill("token_limits.total") == (10, 0)
    assert not await w.settle(hold, USD, 10)
    assert await answer(w.counters.locate(hold.reservation_id, "", "")) == "settled"
    assert await answer(w.counters.locate("", "leaf", "r")) == "settled"


# -- Windows


async def test_a_hold_settles_in_the_windows_of_its_admission(world: MakeWorld) -> None:
    w = world(leaf={"token_limits": {"daily": 100}})
    w.now = NOON + 12 * HOUR - 1
    hold = w.hold(USD, 10)
    await w.reserve(hold)
    w.now += 1
    assert w.money() == ((0, 0), (0, USD), (0, USD))
    await w.check(5, 5)
    await w.settle(hold, USD, 10)
    assert w.money() == ((0, 5), (USD, 5), (USD, 5))
    assert w.fill("token_limits.daily") == (0, 5)
    w.now -= 1
    assert w.money() == ((USD, 0), (USD, 5), (USD, 5))


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
    assert w.money() == ((0, USD), (0, 2 * USD + 1), (0, 2 * USD + 1))


async def test_a_clock_that_was_ahead_at_first_is_no_trouble(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"daily": 1.0, "monthly": 1.5}})
    w.now += 40 * 24 * HOUR
    hold = w.hold(USD)
    await w.reserve(hold)
    w.now = NOON
    assert isinstance(await w.check(USD), Admitted)
    assert w.money() == ((0, USD), (0, USD), (0, 2 * USD))
    refused = await w.check(USD)
    assert isinstance(refused, Refused)
    assert refused.limit.name == "budget_limits.daily"
    await w.settle(hold, USD)
    assert w.money() == ((0, USD), (0, USD), (USD, USD))


async def test_spend_counts_before_there_is_a_limit(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD, 10)
    await w.reserve(hold)
    await w.settle(hold, USD, 10)
    limited = world(leaf={"budget_limits": {"daily": 1.0}, "token_limits": {"monthly": 50}})
    assert limited.fill("budget_limits.daily") == (USD, 0)
    assert limited.fill("token_limits.monthly") == (10, 0)
    assert isinstance(await limited.check(1), Refused)


# -- Rates


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
    (status,) = w.counters.status(w.scopes, w.now)
    assert (status.limit, status.spent, status.held, status.unit) == (6, 2, 0, "requests")
    assert status.reset_at == NOON + 20 * SECOND
    w.now += 20 * SECOND
    (status,) = w.counters.status(w.scopes, w.now)
    assert (status.spent, status.reset_at) == (0, w.now)


# -- Guards


@pytest.mark.parametrize("period", ["day", "month", "total"])
async def test_a_guard_that_no_longer_holds_stops_the_reserve(
    world: MakeWorld, period: str
) -> None:
    w = world()
    under = BudgetGuard("root", period, under=True, amount=USD)  # type: ignore[arg-type]
    over = BudgetGuard("root", period, under=False, amount=USD)  # type: ignore[arg-type]
    assert await w.reserve(w.hold(USD - 1), over) == GuardFailed(over)
    assert w.money()[2] == (0, 0)
    assert isinstance(await w.reserve(w.hold(USD - 1), under), Admitted)
    assert isinstance(await w.reserve(w.hold(1), under), Admitted)
    assert await w.reserve(w.hold(1), under) == GuardFailed(under)
    assert isinstance(await w.reserve(w.hold(1), over), Admitted)


# -- What there is to see


async def test_an_admission_names_the_limits_with_the_least_left(world: MakeWorld) -> None:
    w = world(
        leaf={
            "rate_limits": {"per_minute": 10},
            "token_limits": {"daily": 100, "total": 90, "monthly": 95},
        },
        team={"max_requests": 3},
        root={"max_requests": 4, "rate_limits": {"per_day": 100}},
    )
    verdict = await w.check(0, 10)
    assert isinstance(verdict, Admitted)
    requests, tokens = verdict.tightest_requests, verdict.tightest_tokens
    assert requests is not None
    assert (requests.key_id, requests.name, requests.remaining) == ("team", "max_requests", 2)
    assert tokens is not None
    assert (tokens.name, tokens.remaining, tokens.held) == ("token_limits.total", 80, 10)
    verdict = await world(leaf={"rate_limits": {"per_minute": 10}}).check(0, 10)
    assert isinstance(verdict, Admitted)
    assert verdict.tightest_tokens is None
    assert verdict.tightest_requests is not None
    assert verdict.tightest_requests.name == "rate_limits.per_minute"


async def test_status_has_every_limit_leaf_first(world: MakeWorld) -> None:
    w = world(
        leaf={
            "rate_limits": {"per_minute": 10, "per_second": 0},
            "token_limits": {"per_request_max": 7, "monthly": 9},
            "budget_limits": {"total": 1, "daily": 2, "monthly": 3},
        },
        root={"max_requests": 3, "permissions": {"monthly_budget": 4}},
    )
    december = 1_796_083_200 * SECOND
    midnight = NOON + 12 * HOUR
    found = [(s.key_id, s.name, s.limit, s.reset_at) for s in w.counters.status(w.scopes, NOON)]
    assert found == [
        ("leaf", "token_limits.per_request_max", 7, None),
        ("leaf", "budget_limits.total", USD, None),
        ("leaf", "budget_limits.daily", 2 * USD, midnight),
        ("leaf", "budget_limits.monthly", 3 * USD, december),
        ("leaf", "token_limits.monthly", 9, december),
        ("leaf", "rate_limits.per_second", 0, None),
        ("leaf", "rate_limits.per_minute", 10, NOON),
        ("root", "permissions.monthly_budget", 4 * USD, december),
        ("root", "max_requests", 3, None),
    ]


async def test_any_minute_admits_at_most_capacity_and_limit(world: MakeWorld) -> None:
    w = world(leaf={"rate_limits": {"per_minute": 7, "burst": 3}})
    times = []
    for _ in range(200):
        if isinstance(await w.check(), Admitted):
            times.append(w.now)
        w.now += 1_700_000_000
    for first in times:
        assert sum(first <= each < first + 60 * SECOND for each in times) <= 3 + 7
    assert all(first <= second for first, second in pairwise(times))
