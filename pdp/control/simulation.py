"""A request that nobody made, decided by the engine itself: nothing moves, nothing is written."""

from typing import Any

from msgspec import Struct

from pdp.compile import Compiler
from pdp.control.asked import Asked, Spend
from pdp.counters.account import Account, Bucket, Total
from pdp.counters.pretended import PretendedCounters
from pdp.engine import Engine
from pdp.errors import Unavailable
from pdp.key import CompiledKey
from pdp.model import Decision, LimitStatus, Resolved
from pdp.options import Options
from pdp.ports import Prices
from pdp.quota.calendar import Calendar
from pdp.records import Record
from pdp.stats import Stats
from pdp.wording import instant as _instant


class Rules(Struct, frozen=True):
    """What a decision depends on beside keys: prices, and the operator's choices."""

    prices: Prices
    options: Options = Options()


def decide(resolved: Resolved, asked: Asked, accounts: list[Account], rules: Rules) -> Decision:
    """Decide as a Check with `dry_run` would, with the counters as `accounts` has them."""
    key = Compiler().compile(resolved)
    engine = Engine(
        keys=_OneKey(key),
        counters=PretendedCounters(accounts),
        prices=rules.prices,
        sink=_NoSink(),
        clock=lambda: asked.at,
        ids=lambda: "simulated",
        options=rules.options,
        stats=Stats(),
    )
    decision = engine.check(asked.request)
    if not isinstance(decision, Decision):
        raise Unavailable("the simulation had to wait")
    return decision


def accounts_of(spend: Spend, resolved: Resolved, at: int) -> list[Account]:
    """Return counters that have spent what is pretended, in the windows around `at` (ns)."""
    calendar = Calendar(resolved.timezone, resolved.moved)
    day, month = calendar.day(at)[0], calendar.month(at)[0]
    return [
        Account(
            key_id,
            Bucket(day, spent.get("daily", 0)),
            Bucket(month, spent.get("monthly", 0)),
            Total(0, spent.get("total", 0)),
            {},
        )
        for key_id, spent in spend.items()
    ]


def answer_of(decision: Decision, at: int) -> dict[str, Any]:
    """Return a decision as the API and the CLI show it."""
    return {
        "decision": "allow" if decision.allowed else "deny",
        "reason": decision.reason,
        "message": decision.message,
        "http_status": decision.http_status,
        "matched_statement": decision.matched_statement or None,
        "key_id": decision.key_id,
        "key_name": decision.key_name,
        "at": _instant(at),
        "retry_after": None if decision.retry_after is None else decision.retry_after / 1e9,
        "limits": [_limit(each) for each in decision.limits],
    }


def _limit(limit: LimitStatus) -> dict[str, Any]:
    return {
        "name": limit.name,
        "key_id": limit.key_id,
        "unit": limit.unit,
        "limit": limit.limit,
        "spent": limit.spent,
        "held": limit.held,
        "remaining": limit.remaining,
        "reset_at": None if limit.reset_at is None else _instant(limit.reset_at),
    }


class _OneKey:
    """A `KeySource` that knows one key, by whatever secret."""

    def __init__(self, key: CompiledKey) -> None:
        self._key = key

    def lookup(self, api_key: str) -> CompiledKey:
        del api_key
        return self._key

    def by_id(self, key_id: str) -> CompiledKey | None:
        return self._key if key_id == self._key.record.id else None


class _NoSink:
    """A `UsageSink` of simulations, which write nothing."""

    owing = False

    def append(self, record: Record) -> None:
        raise AssertionError(f"a simulation writes nothing, but {type(record).__name__}")
