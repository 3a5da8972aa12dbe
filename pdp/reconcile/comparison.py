"""The counters of one root against the ledger, while requests go on.

Both move, and never at the same time: a request is counted in Redis at once and in the ledger
a moment later. So the counters are watched: they note each request that moves them. A pass
reads sums of the ledger, then those of the counters, and takes off what the noted requests
are ahead of their entries in that same state of the ledger; what moved before the watch
began has landed after some seconds. A difference is one that two passes find alike.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from pdp.quota.hold import Hold
from pdp.reconcile.drift import Spool
from pdp.reconcile.flight import Flight, Name
from pdp.reconcile.sides import Counters, Ledger, Look
from pdp.reconcile.sums import NOTHING, Entry, Place, Sums, at_places, differences

_SECOND: Final = 1_000_000_000
_LOT: Final = 100
"""Places that are read from Redis in one go: less than a millisecond of its time."""

_OPEN: Final = ("", "pending")


class Pace(Struct, frozen=True):
    """Seconds: from one pass to the next, until what is on its way has landed, and at most."""

    rest: float = 1.0
    landed: float = 6.0
    patience: float = 20.0


class Found(Struct, frozen=True):
    """Differences that stand, with what was counted; those that were `moving` to the end.

    `stale` are holds that live in Redis and have ended in the ledger, `lost` those that Redis
    knows nothing of.
    """

    differences: Mapping[Place, Sums]
    counted: Mapping[Place, Sums]
    moving: Mapping[Place, Sums]
    stale: Sequence[tuple[Hold, Entry]]
    lost: Sequence[Hold]
    spools: Sequence[Spool]


class _Pass(Struct):
    """What one pass found."""

    differences: dict[Place, Sums]
    counted: dict[Place, Sums]
    stale: dict[str, tuple[Hold, Entry]]
    lost: dict[str, Hold]


_NO_PASS: Final = _Pass({}, {}, {}, {})


class Comparison:
    """Compares one root. `clock` in ns, `monotonic` in ns; `rest` waits some seconds."""

    def __init__(
        self,
        ledger: Ledger,
        counters: Counters,
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], int],
        rest: Callable[[float], Awaitable[object]],
        pace: Pace,
    ) -> None:
        self._ledger = ledger
        self._counters = counters
        self._clock = clock
        self._monotonic = monotonic
        self._rest = rest
        self._pace = pace
        self._flight = Flight()
        self._began = monotonic()
        self._shipped_at_first: Mapping[str, int] = {}

    async def run(self) -> Found:
        """Compare all; the counters are watched already. Raises `Unavailable`."""
        async with self._ledger.look() as look:
            self._shipped_at_first = await look.spools()
        return await self.again(await self._suspects())

    async def _suspects(self) -> list[Place]:
        """Return the places whose sums are not the same, without asking why."""
        found: list[Place] = []
        async for lot in self._ledger.lots(self._clock() // _SECOND):
            places = list(lot)
            for start in range(0, len(places), _LOT):
                some = places[start : start + _LOT]
                counted, moves = await self._counters.read(some)
                self._flight.note(moves)
                found += [
                    place for place, sums in zip(some, counted, strict=True) if sums != lot[place]
                ]
        return found

    async def again(self, places: Sequence[Place]) -> Found:
        """Compare some places until what differs stands still, or patience ends.

        Nothing stands that was not found twice, however long a pass takes.
        """
        began = self._monotonic()
        before, now = _NO_PASS, await self._pass(places)
        standing: Mapping[Place, Sums] = {}
        while now.differences:
            await self._rest(self._pace.rest)
            before, now = now, await self._pass(list(now.differences))
            standing = _alike(before.differences, now.differences)
            if self._since(began) >= self._pace.patience:
                break
            if self._since(self._began) >= self._pace.landed and standing == now.differences:
                break
        moving = {place: now.differences[place] for place in now.differences.keys() - standing}
        stale = [now.stale[name] for name in sorted(now.stale.keys() & before.stale.keys())]
        lost = [now.lost[name] for name in sorted(now.lost.keys() & before.lost.keys())]
        return Found(standing, now.counted, moving, stale, lost, await self._spools())

    def _since(self, began: int) -> float:
        return (self._monotonic() - began) / _SECOND

    async def _pass(self, places: Sequence[Place]) -> _Pass:
        found = _Pass({}, {}, {}, {})
        for start in range(0, len(places), _LOT):
            some = places[start : start + _LOT]
            async with self._ledger.look() as look:
                ledger = await look.sums(some)
                sums, moves = await self._counters.read(some)
                self._flight.note(moves)
                flight = self._flight.land(await look.entries(self._flight.names))
            counted = dict(zip(some, sums, strict=True))
            found.counted |= counted
            found.differences |= differences(some, counted, ledger, flight)
        if found.differences:
            await self._consider_holds(found)
        return found

    async def _consider_holds(self, found: _Pass) -> None:
        """Take off what only one side knows to be held; find what has ended there, or is lost."""
        # One that is put off while they are read comes twice.
        live = {hold.decision_id: hold async for lot in self._counters.live() for hold in lot}
        # Those that are newer than the sums have been noted by now.
        _, moves = await self._counters.read(())
        self._flight.note(moves)
        flying = set(self._flight.names)
        async with self._ledger.look() as look:
            resting = live.keys() - flying
            entries = await look.entries(resting)
            for hold in map(live.__getitem__, sorted(resting)):
                entry = entries.get(hold.decision_id)
                if entry is None:
                    _take_off(found, hold, 1)
                elif entry.status not in _OPEN:
                    found.stale[hold.decision_id] = hold, entry
            if any(each.held < 0 or each.tokens_held < 0 for each in found.differences.values()):
                known = flying | live.keys()
                await self._consider_pending(look, known, found)

    async def _consider_pending(self, look: Look, known: Collection[Name], found: _Pass) -> None:
        """Look for what the ledger holds and Redis does not."""
        async for lot in look.pending(self._clock() // _SECOND):
            missing = [each for each in lot if each[0].decision_id not in known]
            unknown = await self._counters.unknown([hold for hold, _ in missing])
            for hold, is_somebodys in missing:
                if hold.decision_id not in unknown:
                    continue
                if is_somebodys:
                    found.lost[hold.decision_id] = hold
                else:
                    _take_off(found, hold, -1)

    async def _spools(self) -> list[Spool]:
        async with self._ledger.look() as look:
            shipped = await look.spools()
        counted, heard = await self._counters.counted(), await self._counters.heard()
        first = self._shipped_at_first
        return [
            Spool(
                name,
                shipped_at_first=first.get(name, 0),
                shipped=shipped.get(name, 0),
                counted=counted.get(name),
                heard=heard.get(name),
            )
            for name in sorted(counted.keys() | heard.keys())
        ]


def _alike(one: Mapping[Place, Sums], other: Mapping[Place, Sums]) -> dict[Place, Sums]:
    """Return what is the same in both."""
    return {place: sums for place, sums in other.items() if one.get(place) == sums}


def _take_off(found: _Pass, hold: Hold, sign: int) -> None:
    """Take a hold off the differences: it is in the counters alone, or with -1 in the ledger.

    There its request is counted on both sides.
    """
    held = Sums(0, hold.cost or 0, 0, hold.tokens, int(sign > 0))
    for place, sums in at_places({hold.windows: held}).items():
        if place not in found.differences:
            continue
        left = found.differences[place].plus(sums, -sign)
        if left == NOTHING:
            del found.differences[place]
        else:
            found.differences[place] = left
