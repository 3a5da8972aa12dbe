"""Requests that moved the counters while these were watched, and what the ledger lacks of them.

A request is counted here and there by what became of it: held, settled, expired, taken back.
What it is counted as in the counters is known from their notes, what in the ledger from its
entry; the rest is in flight. Pure.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pdp.quota.hold import Window
from pdp.reconcile.sums import NOTHING, Entry, Place, Sums, at_places

Name = str | tuple[str, str]
"""A decision; or key and request of a usage that was never checked."""


class Move(Struct, frozen=True, array_like=True):
    """A request that moved, and what is counted of it since. No decision: it was not checked."""

    decision_id: str
    key_id: str
    request_id: str
    windows: tuple[Window, ...]
    sums: Sums

    @property
    def name(self) -> Name:
        """What it is known by."""
        return self.decision_id or (self.key_id, self.request_id)


class Flight:
    """The requests whose last move the ledger has not been seen to have."""

    def __init__(self) -> None:
        self._moves: dict[Name, Move] = {}

    def note(self, moves: Iterable[Move]) -> None:
        """Note moves, in their order."""
        for move in moves:
            self._moves[move.name] = move

    @property
    def names(self) -> list[Name]:
        """Whom to look up in the ledger."""
        return list(self._moves)

    def land(self, entries: Mapping[Name, Entry]) -> dict[Place, Sums]:
        """Compare with the ledger's entries; return what it lacks, by place.

        Who is there as he is here is no longer in flight.
        """
        moves, self._moves = self._moves, {}
        rest: dict[tuple[Window, ...], Sums] = {}
        for name, move in moves.items():
            entry = entries.get(name)
            lacking = move.sums.minus(NOTHING if entry is None else entry.sums)
            if lacking != NOTHING:
                self._moves[name] = move
                rest[move.windows] = rest.get(move.windows, NOTHING).plus(lacking)
        return at_places(rest)
