"""What is counted of a key in one window. Pure; money in nano-USD."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from pdp.quota.hold import Window

Period = Literal["day", "month", "total"]


class Place(NamedTuple):
    """A key and a window, which starts at second `start` (0 of `total`)."""

    key_id: str
    period: Period
    start: int


class Sums(NamedTuple):
    """Spent and held money, spent and held tokens, and requests.

    Requests are counted for all time only: 0 elsewhere.
    """

    spent: int = 0
    held: int = 0
    tokens_spent: int = 0
    tokens_held: int = 0
    requests: int = 0

    def plus(self, other: "Sums", times: int = 1) -> "Sums":
        """Return these and `times` those."""
        return Sums(*(mine + times * its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: "Sums") -> "Sums":
        """Return these without those."""
        return self.plus(other, -1)


NOTHING: Final = Sums()


class Entry(Struct, frozen=True):
    """A request as the ledger has it, and what is counted of it there."""

    status: str
    sums: Sums


def places_of(windows: Iterable[Window]) -> list[Place]:
    """Return where a request of these windows is counted."""
    found = []
    for window in windows:
        found += [
            Place(window.key_id, "day", window.day),
            Place(window.key_id, "month", window.month),
            Place(window.key_id, "total", 0),
        ]
    return found


def at_places(moved: Mapping[tuple[Window, ...], Sums]) -> dict[Place, Sums]:
    """Return, by place, what is counted by chains."""
    found: dict[Place, Sums] = {}
    for windows, sums in moved.items():
        for place in places_of(windows):
            there = sums if place.period == "total" else sums._replace(requests=0)
            found[place] = found.get(place, NOTHING).plus(there)
    return found


def differences(
    places: Sequence[Place],
    counted: Mapping[Place, Sums],
    ledger: Mapping[Place, Sums],
    flight: Mapping[Place, Sums],
) -> dict[Place, Sums]:
    """Return what counters have more than the ledger and what is on its way there; not 0."""
    found = {}
    for place in places:
        due = ledger.get(place, NOTHING).plus(flight.get(place, NOTHING))
        difference = counted.get(place, NOTHING).minus(due)
        if difference != NOTHING:
            found[place] = difference
    return found
