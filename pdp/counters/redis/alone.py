"""What a data plane decides by itself while Redis is away. Pure.

Invariant NO-OVERSPEND: budgets, quotas and budget conditions deny, unless their author has
chosen otherwise. A rate is shared out: each of the data planes admits its part.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from pdp.counters.redis.away import Away
from pdp.errors import Unavailable
from pdp.quota.gcra import NEVER, admit
from pdp.quota.hold import Admitted, Refused, Reserve, too_large
from pdp.quota.limit import Limit, Rate
from pdp.quota.plan import Plan
from pdp.wording import named

_MOST_RATES: Final = 100_000

Rates = Iterable[tuple[str, int, int]]
"""(key_id, slot, theoretical arrival time) each, as in `Admitted`."""


class Alone:
    """Admits without Redis. `is_lenient`: limits that do not say `on_backend_error` allow."""

    def __init__(self, *, is_lenient: bool) -> None:
        self._is_lenient = is_lenient
        self._times: dict[tuple[str, int], int] = {}

    def know(self, rates: Rates) -> None:
        """Note where rates stand: from there each part of them goes on."""
        for key_id, slot, time in rates:
            self._times[key_id, slot] = time
        if len(self._times) > _MOST_RATES:
            for name in list(islice(self._times, len(self._times) - _MOST_RATES)):
                del self._times[name]

    def decide(self, op: Reserve, planes: int, why: Away) -> Admitted | Refused:
        """Admit or refuse; raises `Unavailable` for what must not be decided without Redis.

        `planes`: how many data planes share the rates.
        """
        refused = too_large(op.plan, op.hold.tokens)
        if refused is not None:
            return refused
        for limit in _counting(op.plan):
            if not (self._is_lenient if limit.is_lenient is None else limit.is_lenient):
                raise Unavailable(
                    f"`{limit.name}` of {named(limit.key_name, limit.key_id)} cannot be compared "
                    f"with what was spent: {why}"
                )
        if op.guards and not self._is_lenient:
            raise Unavailable(f"a budget condition cannot be compared with what was spent: {why}")
        return self._rated(op, planes)

    def _rated(self, op: Reserve, planes: int) -> Admitted | Refused:
        moved = {}
        for _, rate in op.plan.rates:
            name = rate.key_id, rate.slot
            part = _part_of(rate, planes)
            time, wait = admit(self._times.get(name, 0), part, op.now)
            if time is None:
                return Refused(rate, 1, rate.capacity, 0, None if wait == NEVER else wait)
            moved[name] = time
        rates = tuple((key_id, slot, time) for (key_id, slot), time in moved.items())
        if not op.dry_run:
            self.know(rates)
        # Redis is told once it is back: as full as this part is, the whole may be.
        return Admitted(op.hold, rates)


def _counting(plan: Plan) -> Iterator[Limit]:
    for limits in (plan.budgets, plan.tokens, plan.requests):
        for _, limit in limits:
            yield limit


def _part_of(rate: Rate, planes: int) -> Rate:
    return Rate(
        rate.name,
        rate.key_id,
        rate.key_name,
        rate.amount,
        rate.period,
        rate.interval * planes,
        max(1, rate.capacity // planes) if rate.capacity else 0,
        rate.slot,
    )
