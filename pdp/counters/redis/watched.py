"""The counters of one root, watched while they are compared with the ledger."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pdp.counters.redis import answers, asks, comparing
from pdp.counters.redis.away import Away
from pdp.counters.redis.layout import prefix_of
from pdp.counters.redis.line import Line
from pdp.errors import Conflict
from pdp.quota.hold import Hold, Settlement
from pdp.reconcile.flight import Move
from pdp.reconcile.sums import Entry, Place, Sums

_OWNER: Final = "reconciler"
_HOLDS: Final = 100
_CHANGES: Final = 100
"""Corrections in one call: they are made together."""


class WatchedCounters:
    """Asks the script. `who` is unique. Raises `Away`, and `Conflict` where another watches.

    `time` is what calls are told that it is, in ns; 0: Redis has the clock.
    """

    def __init__(
        self, line: Line, root: str, who: str, *, time: Callable[[], int] = lambda: 0
    ) -> None:
        self._line = line
        self._root = root
        self._who = who
        self._time = time
        self._epoch: bytes | None = None
        self._read = 0
        self._lots = 0

    async def watch(self) -> bool:
        """Watch from now on; False: Redis has no counters of this root."""
        epoch, (answer,) = await self._call([comparing.watch(self._who)])
        if epoch is None:
            return False
        if not answer:
            raise Conflict(
                "the counters are compared already, or are being opened: try again in 30 s"
            )
        self._epoch = epoch
        return True

    async def leave(self) -> None:
        """Watch no longer; where that cannot be said, the watch ends by itself."""
        try:
            await self._call([comparing.leave(self._who)])
        except Away:
            return

    async def read(self, places: Sequence[Place]) -> tuple[Sequence[Sums], Sequence[Move]]:
        """Return what is counted, and what has moved up to then since the last reading."""
        moves: list[Move] = []
        while True:
            moved, sums = await self._watched(comparing.values(self._who, self._read, places))
            self._read += len(moved)
            moves += comparing.moves_of(moved)
            if sums is not None:
                return comparing.sums_of(sums), moves

    async def live(self) -> AsyncIterator[Sequence[Hold]]:
        """Yield the live holds; one that is put off meanwhile may come twice."""
        start, skip = 0, 0
        while True:
            found = await self._asked(comparing.live(start, skip, _HOLDS))
            holds = [answers.hold_of(*each) for each in found]
            yield holds
            if len(found) < _HOLDS:
                return
            last = holds[-1].expires_at // 1000
            alike = sum(hold.expires_at // 1000 == last for hold in holds)
            start, skip = last, alike + (skip if start == last else 0)

    async def unknown(self, holds: Sequence[Hold]) -> set[str]:
        """Return the decisions of those of which Redis knows nothing, not even that they ended."""
        found = set()
        for some in _lots(holds):
            asked = [asks.locate(hold.reservation_id, "", "") for hold in some]
            for hold, answer in zip(some, await self._all(asked), strict=True):
                if answer == b"unknown":
                    found.add(hold.decision_id)
        return found

    async def restore(self, holds: Sequence[Hold], ends: int) -> None:
        """Hold again what was lost, until `ends` (ns) at least."""
        for some in _lots(holds):
            await self._watched(comparing.restore(self._who, ends, some))

    async def settle(self, hold: Hold, entry: Entry, now: int) -> None:
        """Let a hold end as the ledger says that it has."""
        await self._asked(
            asks.settle(
                Settlement(
                    hold.reservation_id,
                    hold.key_id,
                    hold.request_id,
                    entry.sums.spent,
                    entry.sums.tokens_spent,
                    hold.windows,
                    now,
                    expired=entry.status == "expired",
                )
            )
        )

    async def adjust(self, changes: Mapping[Place, Sums]) -> None:
        """Add differences, each once."""
        rows = sorted(changes.items())
        for start in range(0, len(rows), _CHANGES):
            self._lots += 1
            lot = rows[start : start + _CHANGES]
            await self._watched(comparing.adjust(self._who, self._lots, lot))

    async def counted(self) -> Mapping[str, int]:
        """Return, by spool, the record before which all are surely counted."""
        return await self._line.spools(prefix_of(self._root))

    async def heard(self) -> Mapping[str, int]:
        """Return the second in which each data plane was last heard of."""
        return await self._line.planes()

    async def _watched(self, op: bytes) -> Any:
        answer = await self._asked(op)
        if answer is None:
            raise Away("the watch over the counters is lost: try again")
        return answer

    async def _asked(self, op: bytes) -> Any:
        (answer,) = await self._all([op])
        return answer

    async def _all(self, ops: Sequence[bytes]) -> Sequence[Any]:
        epoch, found = await self._call(ops)
        if epoch is None or epoch != self._epoch:
            raise Away("the counters were lost meanwhile: try again")
        for answer in found:
            if failure := answers.failure_of(answer):
                raise Away(f"Redis failed: {failure}")
        return found

    async def _call(self, ops: Sequence[bytes]) -> tuple[bytes | None, Sequence[Any]]:
        argument = asks.call(_OWNER, self._time(), ops)
        epoch, _, _, found, _ = await self._line.run_script(prefix_of(self._root), argument)
        return epoch, found


def _lots(holds: Sequence[Hold]) -> Iterator[Sequence[Hold]]:
    for start in range(0, len(holds), _HOLDS):
        yield holds[start : start + _HOLDS]
