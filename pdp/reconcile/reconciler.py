"""Compares the counters of each organization with its ledger, and corrects them by the rule."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct
from msgspec.structs import replace

from pdp.reconcile.comparison import Comparison, Found, Pace
from pdp.reconcile.drift import Drift, corrections, drifts_of, why_above, why_below
from pdp.reconcile.sides import Counters, Ledger
from pdp.reconcile.sums import NOTHING, Place, Sums

_SECOND = 1_000_000_000

State = Literal["compared", "not counted", "not compared"]


class Books(Ledger, Protocol):
    """The ledger of an organization, and who it is."""

    organization_id: str
    root_key_id: str

    async def note(self, drifts: Sequence[Drift], now: int) -> None:
        """Write into the audit log which counters are about to be corrected, at `now` (ns)."""
        ...


class Outcome(Struct, frozen=True):
    """What was found of an organization, and what of it was corrected.

    `not counted`: Redis has nothing of it yet. `not compared`: `trouble` says why.
    `moving` sums changed to the end: who asks again sooner or later finds them standing.
    `left` differs still after the correction.
    """

    organization_id: str
    root_key_id: str
    state: State
    drifts: Sequence[Drift] = ()
    moving: int = 0
    corrected: Sequence[Drift] = ()
    left: Sequence[Drift] = ()
    trouble: str = ""

    @property
    def standing(self) -> Sequence[Drift]:
        """What differs now."""
        return self.left if self.corrected else self.drifts

    @property
    def has_drift(self) -> bool:
        """Whether anything differs now that nothing explains."""
        return any(not drift.is_explained for drift in self.standing)


Choice = Callable[[Outcome], bool]
"""Whether to correct what was found; asked also where nothing was."""


def always(_: Outcome) -> bool:
    """Correct: somebody has asked for it."""
    return True


def never(_: Outcome) -> bool:
    """Tell, and change nothing."""
    return False


class Reconciler:
    """Compares and corrects. `clock` and `monotonic` in ns; `rest` waits some seconds.

    `hold_ttl` (ns): how long a hold that was lost awaits its report once it is there again.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], int],
        rest: Callable[[float], Awaitable[object]],
        pace: Pace,
        hold_ttl: int,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._rest = rest
        self._pace = pace
        self._hold_ttl = hold_ttl

    async def reconcile(self, books: Books, counters: Counters, *, correct: Choice) -> Outcome:
        """Compare an organization; correct what differs if so chosen. Raises `Unavailable`."""
        if not await counters.watch():
            return Outcome(books.organization_id, books.root_key_id, "not counted")
        try:
            comparison = Comparison(
                books,
                counters,
                clock=self._clock,
                monotonic=self._monotonic,
                rest=self._rest,
                pace=self._pace,
            )
            found = await comparison.run()
            drifts = self._drifts(found)
            outcome = Outcome(
                books.organization_id,
                books.root_key_id,
                "compared",
                drifts,
                len(found.moving),
            )
            if not correct(outcome) or not outcome.has_drift:
                return outcome
            return await self._corrected(books, counters, comparison, found, outcome)
        finally:
            await counters.leave()

    def _drifts(self, found: Found) -> list[Drift]:
        above = why_above(found.spools, self._clock() // _SECOND)
        below = why_below(found.spools)
        return drifts_of(found.differences, found.counted, above, below)

    async def _corrected(
        self,
        books: Books,
        counters: Counters,
        comparison: Comparison,
        found: Found,
        outcome: Outcome,
    ) -> Outcome:
        """Correct: first written down, then done, then compared again."""
        wrong = [drift for drift in outcome.drifts if not drift.is_explained]
        await books.note(wrong, self._clock())
        places = list(found.differences)
        if found.stale or found.lost:
            # By their names: who ends the same hold later, or publishes it, moves nothing.
            for hold, entry in found.stale:
                await counters.settle(hold, entry, self._clock())
            await counters.restore(found.lost, self._clock() + self._hold_ttl)
            found = await comparison.again(places)
        changes = _kept(corrections(self._drifts(found)))
        if changes:
            await counters.adjust(changes)
        last = await comparison.again(places)
        return replace(
            outcome,
            moving=outcome.moving + len(last.moving),
            corrected=wrong,
            left=self._drifts(last),
        )


def _kept(changes: dict[Place, Sums]) -> dict[Place, Sums]:
    return {place: change for place, change in changes.items() if change != NOTHING}
