"""What the script answers, as values. Pure; the answers are described in `lua`."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from pdp.counters.account import Account, Bucket, Total
from pdp.quota.hold import Hold, Outcome, Window
from pdp.quota.limit import Period
from pdp.quota.plan import Plan
from pdp.quota.scope import Scope

NOT_OPEN: Final = b"?"
"""Instead of an answer: Redis has lost the root's data, and nobody has opened it since."""

_hold = msgspec.msgpack.Decoder(Hold)
_outcome = msgspec.msgpack.Decoder(Outcome)

Amounts = Sequence[bytes | None] | None
State = Sequence[Any]
"""[day, month, total, times of its rates] of a key, None where nothing was asked."""


def hold_of(packed: bytes, expires_at: bytes, *_: object) -> Hold:
    """Return a hold that ends when Redis says."""
    hold = _hold.decode(packed)
    ends = int(expires_at)
    return hold if hold.expires_at == ends else replace(hold, expires_at=ends)


def settled_of(answer: object) -> bool | Outcome:
    """Return whether a settlement moved anything, or what became of the request before."""
    return _outcome.decode(answer) if isinstance(answer, bytes) else bool(answer)


def is_filled(found: object) -> bool:
    """Tell whether a hold that was looked for is there as the ledger knows it, no better."""
    return isinstance(found, list) and bool(found[2])


def failure_of(answer: object) -> str:
    """Return why an op failed, empty if it did not."""
    if isinstance(answer, list) and len(answer) == 2 and answer[0] == b"!":
        return bytes(answer[1]).decode(errors="replace")
    return ""


def accounts_of(
    windows: Sequence[Window], plan: Plan, states: Sequence[State]
) -> tuple[Account, ...]:
    """Return the accounts that a reservation was compared with, in the order of its chain."""
    return tuple(
        _account(window, state, slots)
        for window, state, slots in zip(windows, states, _slots_of(plan), strict=True)
    )


def told_of(plan: Plan, states: Sequence[State]) -> list["Told"]:
    """Return the same, to look at little of it."""
    return list(map(Told, states, _slots_of(plan)))


def _slots_of(plan: Plan) -> list[list[int]]:
    slots: list[list[int]] = [[] for _ in plan.scopes]
    for place, rate in plan.rates:
        slots[place].append(rate.slot)
    return slots


class Told:
    """An account as the script has told it, for who looks at little of it."""

    __slots__ = ("_slots", "_state")

    def __init__(self, state: State, slots: Sequence[int]) -> None:
        self._state = state
        self._slots = slots

    def bucket(self, period: Period) -> Bucket:
        """Return what was asked of the day, the month, or all time; its start is not told."""
        if period == "total":
            return self.total
        return Bucket(0, *_amounts(self._state[0 if period == "day" else 1]))

    @property
    def total(self) -> Total:
        """What was spent ever, and how many requests there were."""
        return Total(0, *_amounts(self._state[2]))

    @property
    def tats(self) -> dict[int, int]:
        """The theoretical arrival times of rates."""
        return _tats(self._state[3], self._slots)


def account_at(scope: Scope, now: int, state: State) -> Account:
    """Return the account of a key in the windows around `now` (ns)."""
    window = Window(scope.key_id, scope.calendar.day(now)[0], scope.calendar.month(now)[0])
    return _account(window, state, [rate.slot for rate in scope.rates])


def _account(window: Window, state: State, slots: Sequence[int]) -> Account:
    day, month, total, times = state
    return Account(
        window.key_id,
        Bucket(window.day, *_amounts(day)),
        Bucket(window.month, *_amounts(month)),
        Total(0, *_amounts(total)),
        _tats(times, slots),
    )


def _tats(times: Sequence[bytes | None] | None, slots: Sequence[int]) -> dict[int, int]:
    return {} if not times else {slot: _time(at) for slot, at in zip(slots, times, strict=True)}


def _amounts(found: Amounts) -> list[int]:
    return [] if found is None else [int(each or 0) for each in found]


def _time(text: bytes | None) -> int:
    return int(text.replace(b".", b"")) if text else 0


def spend_of(found: Sequence[bytes | None]) -> tuple[int, int]:
    """Return (spent, held) in nano-USD."""
    return int(found[0] or 0), int(found[1] or 0)
