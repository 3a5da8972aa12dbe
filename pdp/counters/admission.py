"""Whether a request has room under every limit: pure reading, in the reason order.

Invariant NO-OVERSPEND: what passes here leaves spent + held <= limit at every
scope. An amount of 0 blocks, also a request that costs nothing.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from pdp.counters.account import Account, Bucket, Total
from pdp.errors import Unavailable
from pdp.model import LimitStatus
from pdp.quota.gcra import NEVER, admit, remaining
from pdp.quota.hold import Refused
from pdp.quota.limit import Limit, Period, Rate
from pdp.quota.money import MOST_SUM
from pdp.quota.plan import Plan
from pdp.quota.scope import Scope

_SECOND: Final = 1_000_000_000

Tats = tuple[tuple[str, int, int], ...]


class Counted(Protocol):
    """What limits are compared with: an `Account`, or as much of one as is known."""

    @property
    def total(self) -> Total:
        """Of all time."""
        ...

    @property
    def tats(self) -> dict[int, int]:
        """Theoretical arrival times (ns) by `Rate.slot`."""
        ...

    def bucket(self, period: Period) -> Bucket:
        """Return what was counted in a window."""
        ...


def over_budget(plan: Plan, accounts: Sequence[Counted], cost: int, now: int) -> Refused | None:
    """Return the first budget without room for `cost`. Raises `Unavailable` beyond `MOST_SUM`."""
    for place, limit in plan.budgets:
        bucket = accounts[place].bucket(limit.period)
        if bucket.spent + bucket.held + cost > limit.amount or not limit.amount:
            reset_at = reset_of(plan.scopes[place], limit, now)
            return Refused(limit, cost, bucket.spent, bucket.held, None, reset_at)
    root = accounts[-1].total  # What any key spends, the root of its chain does.
    if root.spent + root.held + cost > MOST_SUM:
        raise Unavailable("more is spent and held than can be counted: ask the operator")
    return None


def over_tokens(
    plan: Plan, accounts: Sequence[Counted], tokens: int, now: int
) -> Refused | LimitStatus | None:
    """Return the first quota without room for `tokens`, else the one with the least left after."""
    tightest: LimitStatus | None = None
    for place, limit in plan.tokens:
        bucket = accounts[place].bucket(limit.period)
        spent, held = bucket.tokens_spent, bucket.tokens_held
        left = limit.amount - spent - held - tokens
        if left < 0 or not limit.amount:
            reset_at = reset_of(plan.scopes[place], limit, now)
            return Refused(limit, tokens, spent, held, None, reset_at)
        if tightest is None or left < tightest.remaining:
            reset_at = reset_of(plan.scopes[place], limit, now)
            tightest = _as_it_stands(limit, spent, held + tokens, reset_at)
    return tightest


def over_requests(plan: Plan, accounts: Sequence[Counted]) -> Refused | LimitStatus | None:
    """Return the first request quota that is used up, else the one with the least left after."""
    tightest: LimitStatus | None = None
    for place, limit in plan.requests:
        requests = accounts[place].total.requests
        left = limit.amount - requests - 1
        if left < 0:
            return Refused(limit, 1, requests, 0)
        if tightest is None or left < tightest.remaining:
            tightest = _as_it_stands(limit, requests + 1, 0, None)
    return tightest


def over_rate(
    plan: Plan, accounts: Sequence[Counted], now: int
) -> Refused | tuple[Tats, LimitStatus | None]:
    """Return the first rate that is used up, else (moves, the rate with the least left after)."""
    moves = []
    tightest: LimitStatus | None = None
    for place, rate in plan.rates:
        tat, _ = admit(accounts[place].tats.get(rate.slot, 0), rate, now)
        if tat is None:
            return _throttled(plan, accounts, place, rate, now)
        moves.append((rate.key_id, rate.slot, tat))
        left = remaining(tat, rate, now)
        if tightest is None or left < tightest.remaining:
            tightest = _rate_as_it_stands(rate, left, tat)
    return tuple(moves), tightest


def _throttled(
    plan: Plan, accounts: Sequence[Counted], place: int, rate: Rate, now: int
) -> Refused:
    """Return the refusal, with the time after which every rate of the chain has room."""
    waits = [
        admit(accounts[where].tats.get(each.slot, 0), each, now)[1] for where, each in plan.rates
    ]
    tat = accounts[place].tats.get(rate.slot, 0)
    return Refused(
        limit=rate,
        asked=1,
        spent=rate.capacity - remaining(tat, rate, now),
        held=0,
        retry_after=None if NEVER in waits else max(waits),
        reset_at=max(tat, now) if rate.amount else None,
    )


def reset_of(scope: Scope, limit: Limit, now: int) -> int | None:
    """Return when the window of a limit ends, in ns; None: never."""
    if limit.period == "day":
        return scope.calendar.day(now)[1] * _SECOND
    if limit.period == "month":
        return scope.calendar.month(now)[1] * _SECOND
    return None


def rate_status(rate: Rate, tat: int, now: int) -> LimitStatus:
    """Return a rate as a limit: `spent` is what is used of its capacity now."""
    reset_at = max(tat, now) if rate.amount else None
    return _rate_as_it_stands(rate, remaining(tat, rate, now), reset_at)


def limit_status(scope: Scope, limit: Limit, account: Account | None, now: int) -> LimitStatus:
    """Return a limit as it stands; without an account nothing was used."""
    spent = held = 0
    if account is not None and limit.period != "request":
        bucket = account.bucket_at(limit.period, scope.calendar, now)
        if limit.unit == "nano_usd":
            spent, held = bucket.spent, bucket.held
        elif limit.unit == "tokens":
            spent, held = bucket.tokens_spent, bucket.tokens_held
        else:
            spent = account.total.requests
    return _as_it_stands(limit, spent, held, reset_of(scope, limit, now))


def _as_it_stands(limit: Limit, spent: int, held: int, reset_at: int | None) -> LimitStatus:
    return LimitStatus(limit.name, limit.key_id, limit.unit, limit.amount, spent, held, reset_at)


def _rate_as_it_stands(rate: Rate, left: int, reset_at: int | None) -> LimitStatus:
    capacity = rate.capacity
    return LimitStatus(rate.name, rate.key_id, "requests", capacity, capacity - left, 0, reset_at)
