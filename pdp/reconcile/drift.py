"""What is told of a difference, and what is done about it. Pure.

The rule: the ledger is right. A counter below it is raised, whatever the reason. One above it
is lowered, unless a data plane may have records that explain it and that the ledger lacks.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from msgspec import Struct

from pdp.reconcile.sums import Period, Place, Sums

What = Literal["spent", "held", "tokens_spent", "tokens_held", "requests"]
Unit = Literal["nano_usd", "tokens", "requests"]

UNITS: Final[Mapping[What, Unit]] = {
    "spent": "nano_usd",
    "held": "nano_usd",
    "tokens_spent": "tokens",
    "tokens_held": "tokens",
    "requests": "requests",
}
_AGES: Final[Mapping[Period, str]] = {"day": "daily", "month": "monthly", "total": "total"}
_SILENT: Final = 10
"""Seconds without a word after which nobody knows what a data plane has."""


class Drift(Struct, frozen=True):
    """A sum that differs. `ledger` includes what is on its way there.

    `limit` is what would be compared with it. `is_explained`: a data plane may have what makes
    the difference, and will ship it; it is left alone.
    """

    key_id: str
    period: Period
    start: int
    what: What
    unit: Unit
    limit: str
    ledger: int
    counter: int
    cause: str = ""
    is_explained: bool = False

    @property
    def difference(self) -> int:
        """How much the counter is above the ledger; negative: below."""
        return self.counter - self.ledger


class Spool(Struct, frozen=True):
    """How far a data plane's records are.

    The ledger had all before `shipped_at_first` when the comparison began, and before
    `shipped` when it ended; before `counted` all are surely counted, None: nobody said so.
    `heard` is the second in which the data plane was last heard of; None: not for a day, or
    it has taken its leave.
    """

    spool_id: str
    shipped_at_first: int
    shipped: int
    counted: int | None
    heard: int | None


def why_above(spools: Iterable[Spool], now: int) -> str:
    """Return which data plane may have what the ledger lacks; empty: none has. `now` in s."""
    for spool in spools:
        if spool.counted is not None and spool.counted > spool.shipped:
            return f"the ledger lacks records of spool {spool.spool_id} from {spool.shipped} on"
        if spool.heard is not None and now - spool.heard > _SILENT:
            return (
                f"the data plane of spool {spool.spool_id} has been silent for "
                f"{now - spool.heard} s, and may have records"
            )
    return ""


def why_below(spools: Iterable[Spool]) -> str:
    """Return whose records are in the ledger and may not be counted; empty: nobody's."""
    for spool in spools:
        if spool.heard is None or spool.counted is None:
            continue
        if spool.shipped_at_first > spool.counted:
            return f"spool {spool.spool_id} is not counted from record {spool.counted} on"
    return ""


def drifts_of(
    found: Mapping[Place, Sums], counted: Mapping[Place, Sums], above: str, below: str
) -> list[Drift]:
    """Return each sum that differs; `above` and `below` say why one may."""
    drifts = []
    for place in sorted(found):
        for what, difference, counter in zip(UNITS, found[place], counted[place], strict=True):
            if not difference:
                continue
            drifts.append(
                Drift(
                    *place,
                    what=what,
                    unit=UNITS[what],
                    limit=_limit(what, place.period),
                    ledger=counter - difference,
                    counter=counter,
                    cause=above if difference > 0 else below,
                    is_explained=difference > 0 and bool(above),
                )
            )
    return drifts


def corrections(drifts: Iterable[Drift]) -> dict[Place, Sums]:
    """Return what to add to which sums."""
    found: dict[Place, Sums] = {}
    for drift in drifts:
        if not drift.is_explained:
            place = Place(drift.key_id, drift.period, drift.start)
            change = Sums(**{drift.what: -drift.difference})
            found[place] = found.get(place, Sums()).plus(change)
    return found


def _limit(what: What, period: Period) -> str:
    if what == "requests":
        return "max_requests"
    kind = "token_limits" if UNITS[what] == "tokens" else "budget_limits"
    return f"{kind}.{_AGES[period]}"
