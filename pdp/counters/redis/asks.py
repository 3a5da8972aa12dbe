"""What is asked of the script, as MessagePack. Pure; the ops are described in `lua`."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from pdp.quota.hold import BudgetGuard, Hold, Reserve, Settlement, Window
from pdp.quota.limit import Limit
from pdp.quota.plan import Plan
from pdp.quota.scope import Scope
from pdp.spend import SpendRow

_PERIODS: Final[Mapping[str, int]] = {"day": 1, "month": 2, "total": 3}
_WANTED: Final[Mapping[str, int]] = {"day": 1, "month": 2, "total": 4}
_DRY, _ONCE, _LARGE = 1, 2, 4
_SECOND: Final = 1_000_000_000

_pack = msgspec.msgpack.Encoder().encode


def call(owner: str, now: int, ops: Sequence[bytes], floor: int = 0) -> bytes:
    """Return the argument of one call; `now` in ns, 0: Redis has the clock.

    Nothing is done by a Redis that has forgotten calls up to number `floor` of the owner.
    """
    return _pack((owner, *divmod(now, _SECOND), tuple(map(Raw, ops)), floor))


class Reservations:
    """Packs reservations. A plan is packed once, and kept while it is used."""

    def __init__(self, most_plans: int = 50_000) -> None:
        self._plans: dict[int, tuple[Plan, Raw]] = {}
        self._most_plans = most_plans

    def reserve(self, op: Reserve, *, too_large: bool) -> bytes:
        """Ask for a hold. A fingerprint tells that the caller has named the request."""
        hold = op.hold
        once = hold.fingerprint and not op.dry_run
        flags = (_DRY if op.dry_run else 0) + (_ONCE if once else 0) + (_LARGE if too_large else 0)
        return _pack(
            (
                "R",
                _text(_pack(hold)),
                str(hold.expires_at),
                self._packed(op.plan),
                [_guard(guard, op.scope_of[guard.key_id], op.now) for guard in op.guards],
                flags,
            )
        )

    def _packed(self, plan: Plan) -> Raw:
        known = self._plans.get(id(plan))
        if known is None:
            if len(self._plans) >= self._most_plans:
                del self._plans[next(iter(self._plans))]
            # The plan is kept beside its bytes: nothing else gets its id meanwhile.
            known = self._plans[id(plan)] = plan, Raw(_pack(_plan(plan)))
        return known[1]


def _plan(plan: Plan) -> tuple[list[int], list[object], list[object], list[object], list[object]]:
    wants = [0] * len(plan.scopes)
    for place, limit in (*plan.budgets, *plan.tokens, *plan.requests):
        wants[place] |= _WANTED[limit.period]
    wants[-1] |= _WANTED["total"]  # No sum anywhere is above the root's.
    return (
        wants,
        [_limit(place, limit) for place, limit in plan.budgets],
        [_limit(place, limit) for place, limit in plan.tokens],
        [(place + 1, limit.amount) for place, limit in plan.requests],
        [(place + 1, str(rate.slot), rate.interval, rate.capacity) for place, rate in plan.rates],
    )


def _limit(place: int, limit: Limit) -> tuple[int, int, int]:
    return place + 1, _PERIODS[limit.period], limit.amount


def _guard(guard: BudgetGuard, scope: Scope, now: int) -> tuple[str, int, int, bool, int]:
    start = window_start(scope, guard.period, now)
    return guard.key_id, _PERIODS[guard.period], start, guard.under, guard.amount


def window_start(scope: Scope, period: str, now: int) -> int:
    """Return the second in which the window of a key around `now` (ns) starts."""
    if period == "day":
        return scope.calendar.day(now)[0]
    return scope.calendar.month(now)[0] if period == "month" else 0


def settle(op: Settlement, *, again: bool = False) -> bytes:
    """Settle or expire; `again`: what a spool says was done."""
    return _pack(
        (
            "X" if op.expired else "S",
            op.reservation_id,
            op.key_id,
            op.request_id,
            op.cost,
            op.tokens,
            op.windows,
            again,
            op.now // _SECOND,
            _text(_pack(op.outcome)) if op.outcome is not None else False,
        )
    )


def locate(reservation_id: str, key_id: str, request_id: str, *, anew: bool = False) -> bytes:
    """Look for the hold of a report; `anew`: for one that the data plane had before it began."""
    return _pack(("L", reservation_id, key_id, request_id, anew))


def find_open(key_id: str, request_id: str, to: str) -> bytes:
    """Look for the live hold of a request, which is given `to` somebody."""
    return _pack(("O", key_id, request_id, to))


def extend(reservation_id: str, expires_at: int) -> bytes:
    """Let a hold end later."""
    return _pack(("E", reservation_id, str(expires_at)))


def due(now: int, most: int, patience: int, lease: int) -> bytes:
    """Claim holds that are over at `now` (ns), and by Redis' clock; the others in seconds."""
    return _pack(("D", now // 1000, most, patience * 1_000_000, lease))


def withdraw(reservation_id: str, given: Sequence[str]) -> bytes:
    """Say that of all whom this data plane has `given` a hold to nobody relies on it any more."""
    return _pack(("W", reservation_id, given))


def cancel(hold: Hold) -> bytes:
    """Take back a hold that nobody knows of, or that of its request which was given instead."""
    return _pack(("C", hold.reservation_id, hold.key_id, hold.request_id))


def publish(
    hold: Hold, rates: Sequence[tuple[str, int, int]] = (), *, is_counted: bool = False
) -> bytes:
    """Hold what was held before; `is_counted`: the ledger has counted its request."""
    times = [(key_id, str(slot), time_text(time)) for key_id, slot, time in rates]
    requests = 0 if is_counted else 1
    return _pack(("P", _text(_pack(hold)), str(hold.expires_at), times, requests))


def look(scopes: Sequence[Scope], now: int) -> bytes:
    """Read all that is counted of some keys, in the windows around `now` (ns)."""
    return _pack(
        (
            "K",
            [
                (
                    scope.key_id,
                    scope.calendar.day(now)[0],
                    scope.calendar.month(now)[0],
                    [str(rate.slot) for rate in scope.rates],
                )
                for scope in scopes
            ],
        )
    )


def beat(spool_id: str, number: int = -1) -> bytes:
    """Say up to which record of a spool all is counted; -1: only ask."""
    return _pack(("H", spool_id, number))


def begin(epoch: str) -> bytes:
    """Ask to open the root."""
    return _pack(("A", epoch))


def fill(epoch: str, rows: Sequence[SpendRow]) -> bytes:
    """Give keys what the ledger has of them."""
    return _pack(
        (
            "F",
            epoch,
            [
                (
                    row.key_id,
                    _PERIODS[row.period],
                    row.start,
                    str(row.cost),
                    str(row.tokens),
                    str(row.requests),
                )
                for row in rows
            ],
        )
    )


def fill_held(epoch: str, ends: int, holds: Sequence[Hold]) -> bytes:
    """Hold what is pending in the ledger, until `ends` (ns) if nobody publishes it."""
    return _pack(("N", epoch, str(ends), packed_holds(holds)))


def packed_holds(holds: Sequence[Hold]) -> list[Raw]:
    """Return holds as the script takes them."""
    return [_text(_pack(hold)) for hold in holds]


def opened(epoch: str, spools: Mapping[str, int], grace: float) -> bytes:
    """Open the root; `grace` in seconds."""
    return _pack(("B", epoch, list(spools.items()), round(grace * 1000)))


def time_text(nanoseconds: int) -> str:
    """Return a time as the script keeps it."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    return f"{seconds}.{rest:09d}"


def key_of(windows: Sequence[Window]) -> str:
    """Return the root of a chain, leaf first."""
    return windows[-1].key_id


def _text(data: bytes) -> Raw:
    """Return bytes as MessagePack text: the library in Redis knows no other kind of bytes."""
    return Raw(b"\xdb" + len(data).to_bytes(4, "big") + data)
