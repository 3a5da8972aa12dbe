"""Why a key, a price or a limit refuses: the reason, and words for people."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from pdp.key import CompiledKey
from pdp.quota.hold import BudgetGuard, Hold, Refused
from pdp.quota.limit import Limit, Rate
from pdp.quota.money import format_usd
from pdp.quota.plan import Plan
from pdp.wording import instant, named, shown

_SECOND: Final = 1_000_000_000
_SMALLER: Final = "lower max_tokens, shorten the prompt, or ask for a raise: waiting does not help"


class Denial(Struct, frozen=True, gc=False):
    """Why a request is denied.

    `retry_after` in ns; None: waiting does not help. `statement` denied it, or `refused`
    did: the limit that has no room.
    """

    reason: str
    message: str
    retry_after: int | None = None
    statement: str = ""
    refused: Refused | None = None


MISSING_KEY: Final = Denial("missing_key", "no API key: send one as `Authorization: Bearer <key>`")
UNKNOWN_KEY: Final = Denial(
    "invalid_api_key", "the API key is not valid: check it, or ask for a new one"
)


def key_denial(key: CompiledKey, now: int) -> Denial | None:
    """Return why a key or its secret is not alive; None if it is."""
    record = key.record
    if record.status == "active" and now < key.alive_until:
        return None
    who = named(record.name, record.id)
    if record.status == "revoked":
        return Denial("key_revoked", f"{who} was revoked: use another key")
    if record.status == "suspended":
        return Denial("key_suspended", f"{who} is suspended: ask its administrator to resume it")
    if record.expires_at is not None and now >= record.expires_at:
        when = instant(record.expires_at)
        return Denial("key_expired", f"{who} expired at {when}: ask for a new key")
    return Denial("key_revoked", f"this secret of {who} was rotated out: use the new one")


def price_denial(
    key: CompiledKey, guards: Sequence[BudgetGuard], model: str, provider: str
) -> Denial:
    """Return that a budget of a key's chain, or one of `guards`, applies to what has no price."""
    return Denial(
        "price_unknown",
        f"no price is known for model {shown(model)} at provider {shown(provider)}, and "
        f"{_budget_of(key, guards)} applies: name another model, or ask for a price to be set",
    )


def _budget_of(key: CompiledKey, guards: Sequence[BudgetGuard]) -> str:
    if key.plan.budgets:
        limit = key.plan.budgets[0][1]
        return f"`{limit.name}` of {named(limit.key_name, limit.key_id)}"
    owners = {node.policy.key_id: node.policy.owner for node in key.nodes}
    return f"a budget condition of the policy of {owners[guards[0].key_id]}"


def limit_denial(refused: Refused) -> Denial:
    """Return that a limit has no room: which, whose, how full, what to do."""
    reason, message = _words_of(refused)
    return Denial(reason, message, refused.retry_after, refused=refused)


def empty_denial(plan: Plan, hold: Hold) -> Denial | None:
    """Return the first limit, of budgets and then of tokens, that a hold is beyond even unused."""
    asked = [(limit, hold.cost or 0) for _, limit in plan.budgets]
    asked += [(limit, hold.tokens) for _, limit in plan.tokens]
    for limit, amount in asked:
        if amount > limit.amount:
            show = _shower(limit)
            message = (
                f"`{limit.name}` of {named(limit.key_name, limit.key_id)} is "
                f"{show(limit.amount)} {_unit(limit)} and this request may take {show(amount)}: "
                f"{_SMALLER}"
            )
            refused = Refused(limit, amount, 0, 0)
            return Denial(_QUOTA_REASON[limit.unit], message, refused=refused)
    return None


def _words_of(refused: Refused) -> tuple[str, str]:
    limit = refused.limit
    who = f"`{limit.name}` of {named(limit.key_name, limit.key_id)}"
    if isinstance(limit, Rate):
        if limit.amount == 0:
            return "rate_limit_exceeded", f"{who} is 0: no requests are allowed; ask for a raise"
        return "rate_limit_exceeded", f"{who} {_pace(limit, refused.retry_after)}"
    if limit.period == "request":
        return (
            "request_too_large",
            f"{who} allows {limit.amount} tokens a request and this one may take "
            f"{refused.asked}: shorten the prompt or lower max_tokens",
        )
    if limit.amount == 0:
        return _QUOTA_REASON[limit.unit], f"{who} is 0: nothing is allowed; ask for a raise"
    return _QUOTA_REASON[limit.unit], f"{who} has no room: {_fill(limit, refused)}"


_QUOTA_REASON: Final = {
    "nano_usd": "budget_exceeded",
    "tokens": "token_quota_exceeded",
    "requests": "request_quota_exceeded",
}


_PERIOD: Final = {
    _SECOND: "second",
    60 * _SECOND: "minute",
    3600 * _SECOND: "hour",
    86_400 * _SECOND: "day",
}


def _pace(rate: Rate, retry_after: int | None) -> str:
    requests = "1 request" if rate.amount == 1 else f"{rate.amount} requests"
    # Rounded up, as the header is: a client that comes earlier is refused again.
    when = "later" if retry_after is None else f"in {max(1, -(-retry_after // _SECOND))} s"
    return (
        f"allows {requests} a {_PERIOD[rate.period]}, {rate.capacity} at once: "
        f"retry {when}, or ask for a raise"
    )


def _fill(limit: Limit, refused: Refused) -> str:
    show = _shower(limit)
    return (
        f"limit {show(limit.amount)} {_unit(limit)}, spent {show(refused.spent)}, "
        f"held {show(refused.held)}, this request may take {show(refused.asked)}; "
        f"{_way_out(limit, refused)}"
    )


def _shower(limit: Limit) -> Callable[[int], str]:
    return format_usd if limit.unit == "nano_usd" else str


def _unit(limit: Limit) -> str:
    if limit.unit == "nano_usd":
        return "USD"
    return limit.unit.removesuffix("s") if limit.amount == 1 else limit.unit


def _way_out(limit: Limit, refused: Refused) -> str:
    """Return what to do: waiting helps only a request that an empty window has room for."""
    if limit.unit == "requests":
        return "ask for a raise"
    if refused.asked > limit.amount:
        return _SMALLER
    until = "" if refused.reset_at is None else f"wait until {instant(refused.reset_at)}, "
    return f"{until}lower max_tokens, or ask for a raise"
