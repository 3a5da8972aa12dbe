"""Reserve: what fits, what does not, and that a refusal moves nothing."""

import asyncio
from itertools import pairwise

import pytest

from pdp.quota.hold import Admitted, BudgetGuard, GuardFailed, Refused
from tests.contract.conftest import MakeWorld
from tests.contract.world import HOUR, NOON, SECOND, USD


async def test_what_fits_is_held_on_the_whole_chain(world: MakeWorld) -> None:
    w = world()
    assert isinstance(await w.check(3 * USD, 10), Admitted)
    for key_id in ("leaf", "team", "root"):
        assert await w.money(key_id) == ((0, 3 * USD),) * 3


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
    before = await w.status()
    refused = await w.check(USD, 10, "r")
    assert isinstance(refused, Refused)
    assert refused.limit.name == name
    assert await w.status() == before
    assert await w.find_open("leaf", "r") is None
    assert await w.money("leaf") == ((0, 0),) * 3


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
    assert await w.money() == ((0, 0),) * 3


async def test_a_dry_run_answers_and_moves_nothing(world: MakeWorld) -> None:
    w = world(leaf={"rate_limits": {"per_minute": 1}, "max_requests": 1})
    hold = w.hold(USD, 5, "r")
    for _ in range(3):
        assert isinstance(await w.reserve(hold, dry_run=True), Admitted)
    assert await w.find_open("leaf", "r") is None
    assert isinstance(await w.reserve(hold), Admitted)
    assert isinstance(await w.reserve(w.hold(), dry_run=True), Refused)


async def test_two_hundred_at_once_against_room_for_fifty(world: MakeWorld) -> None:
    w = world(root={"budget_limits": {"total": 50.0}})
    verdicts = await asyncio.gather(*(w.check(USD) for _ in range(200)))
    assert sum(isinstance(each, Admitted) for each in verdicts) == 50
    assert await w.fill("budget_limits.total") == (0, 50 * USD)


async def test_the_same_reservation_twice_is_held_once(world: MakeWorld) -> None:
    w = world()
    hold = w.hold(USD)
    assert isinstance(await w.reserve(hold), Admitted)
    assert isinstance(await w.reserve(hold), Admitted)
    assert (await w.money())[0] == (0, USD)


@pytest.mark.parametrize("period", ["day", "month", "total"])
async def test_a_guard_that_no_longer_holds_stops_the_reserve(
    world: MakeWorld, period: str
) -> None:
    w = world()
    under = BudgetGuard("root", period, under=True, amount=USD)  # type: ignore[arg-type]
    over = BudgetGuard("root", period, under=False, amount=USD)  # type: ignore[arg-type]
    assert await w.reserve(w.hold(USD - 1), over) == GuardFailed(over)
    assert (await w.money())[2] == (0, 0)
    assert isinstance(await w.reserve(w.hold(USD - 1), under), Admitted)
    assert isinstance(await w.reserve(w.hold(1), under), Admitted)
    assert await w.reserve(w.hold(1), under) == GuardFailed(under)
    assert isinstance(await w.reserve(w.hold(1), over), Admitted)


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
    found = [(s.key_id, s.name, s.limit, s.reset_at) for s in await w.status()]
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
