"""The two sides of a comparison: what it needs of the ledger and of the counters."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pdp.quota.hold import Hold
from pdp.reconcile.flight import Move, Name
from pdp.reconcile.sums import Entry, Place, Sums


class Look(Protocol):
    """The ledger at one moment. Raises `Unavailable`."""

    async def spools(self) -> Mapping[str, int]:
        """Return, by spool, the first record that is not in it."""
        ...

    async def sums(self, places: Collection[Place]) -> Mapping[Place, Sums]:
        """Return what is counted; not what is 0."""
        ...

    async def entries(self, names: Collection[Name]) -> Mapping[Name, Entry]:
        """Return those of some requests that are in it."""
        ...

    def pending(self, now: int) -> AsyncIterator[Sequence[tuple[Hold, bool]]]:
        """Yield what is held; whether it may be somebody's at `now` (s), or is long nobody's.

        Ask for nothing else meanwhile.
        """
        ...


class Ledger(Protocol):
    """The ledger of one organization. Raises `Unavailable`."""

    def lots(self, now: int) -> AsyncIterator[Mapping[Place, Sums]]:
        """Yield all places that counters use at `now` (s), with what is counted there."""
        ...

    def look(self) -> AbstractAsyncContextManager[Look]:
        """Look at it as it is from the first question on."""
        ...


class Counters(Protocol):
    """The counters of one root, watched. Raises `Unavailable`, also where the watch is lost."""

    async def watch(self) -> bool:
        """Watch from now on; False: nothing is counted there yet."""
        ...

    async def leave(self) -> None:
        """Watch no longer."""
        ...

    async def read(self, places: Sequence[Place]) -> tuple[Sequence[Sums], Sequence[Move]]:
        """Return what is counted at some places, and what has moved up to then since last."""
        ...

    def live(self) -> AsyncIterator[Sequence[Hold]]:
        """Yield the live holds."""
        ...

    async def unknown(self, holds: Sequence[Hold]) -> set[str]:
        """Return the decisions of those of which nothing is known, not even that they ended."""
        ...

    async def restore(self, holds: Sequence[Hold], ends: int) -> None:
        """Hold again what was lost, until `ends` (ns) at least."""
        ...

    async def settle(self, hold: Hold, entry: Entry, now: int) -> None:
        """Let a hold end as the ledger says that it has, at `now` (ns)."""
        ...

    async def adjust(self, changes: Mapping[Place, Sums]) -> None:
        """Add differences, each once."""
        ...

    async def counted(self) -> Mapping[str, int]:
        """Return, by spool, the record before which all are surely counted."""
        ...

    async def heard(self) -> Mapping[str, int]:
        """Return the second in which each data plane was last heard of."""
        ...
