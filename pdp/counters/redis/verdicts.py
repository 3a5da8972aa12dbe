"""From the script's answer to a reservation to its verdict. Pure.

The script tells whether there was room, and what it has read. Which limit it was, and how
much is left, is found by the functions that memory counters use.
"""

from collections.abc import Sequence
from typing import Any

from pdp.counters.account import Account
from pdp.counters.admission import Tats, over_budget, over_rate, over_requests, over_tokens
from pdp.counters.redis.answers import accounts_of, hold_of, told_of
from pdp.errors import Unavailable
from pdp.quota.hold import Admitted, GuardFailed, Open, Refused, Reserve, Verdict, too_large

_ODD = "the counters contradict themselves: ask the operator"


def verdict_of(op: Reserve, answer: Sequence[Any], now: int) -> Verdict:
    """Return the verdict; `now` (ns) is Redis' time. Raises `Unavailable`."""
    code = answer[0]
    if code == b"a":
        return admitted(op, answer[1], now)
    if code == b"r":
        return refused(op, accounts_of(op.hold.windows, op.plan, answer[1]), now)
    if code == b"g":
        return GuardFailed(op.guards[answer[1]])
    if code == b"o":
        return Open(hold_of(answer[1], answer[2]))
    if code == b"s":
        return Admitted(hold_of(answer[1], answer[2]))
    raise Unavailable("the reservation was taken back: try again")


def admitted(op: Reserve, states: Sequence[Any], now: int) -> Admitted:
    """Return an admission, with the limits that have the least left."""
    plan, hold = op.plan, op.hold
    if not (plan.tokens or plan.requests or plan.rates):
        return Admitted(hold)
    accounts = told_of(plan, states)
    tokens = over_tokens(plan, accounts, hold.tokens, op.now) if plan.tokens else None
    requests = over_requests(plan, accounts) if plan.requests else None
    moves: Tats = ()
    rated = over_rate(plan, accounts, now)
    if isinstance(tokens, Refused) or isinstance(requests, Refused) or isinstance(rated, Refused):
        raise Unavailable(_ODD)
    moves, rate = rated
    if requests is None or (rate and rate.remaining < requests.remaining):
        requests = rate
    return Admitted(hold, moves, requests, tokens)


def refused(op: Reserve, accounts: Sequence[Account], now: int) -> Refused:
    """Return the first limit without room. Raises `Unavailable` if the sums are at their end."""
    plan, hold = op.plan, op.hold
    found = (
        too_large(plan, hold.tokens)
        or over_budget(plan, accounts, hold.cost or 0, op.now)
        or _if_refused(over_tokens(plan, accounts, hold.tokens, op.now))
        or _if_refused(over_requests(plan, accounts))
        or _if_refused(over_rate(plan, accounts, now))
    )
    if found is None:
        raise Unavailable(_ODD)
    return found


def _if_refused(found: object) -> Refused | None:
    return found if isinstance(found, Refused) else None
