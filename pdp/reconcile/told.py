"""What a comparison leaves word of, for the metrics of every data plane. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from pdp.reconcile.drift import UNITS, Drift, Unit

Direction = Literal["above", "below"]

_DIRECTIONS: Final[tuple[Direction, ...]] = ("above", "below")
_UNITS: Final[tuple[Unit, ...]] = tuple(dict.fromkeys(UNITS.values()))


class Size(Struct, frozen=True):
    """The largest difference of its kind; 0: none."""

    unit: Unit
    direction: Direction
    largest: int


class Told(Struct, frozen=True):
    """When (s) it was, how many counters are above and below the ledger, and how far at most."""

    at: int
    numbers: Mapping[Direction, int]
    sizes: Sequence[Size]


def told_of(drifts: Iterable[Drift], at: int) -> Told:
    """Return what is told of the drift that nothing explains."""
    numbers: dict[Direction, int] = dict.fromkeys(_DIRECTIONS, 0)
    sizes: dict[tuple[Unit, Direction], int] = {}
    for drift in drifts:
        if not drift.is_explained:
            direction: Direction = "above" if drift.difference > 0 else "below"
            numbers[direction] += 1
            name = drift.unit, direction
            sizes[name] = max(sizes.get(name, 0), abs(drift.difference))
    names = [(unit, direction) for unit in _UNITS for direction in _DIRECTIONS]
    return Told(at, numbers, [Size(*name, sizes.get(name, 0)) for name in names])


def packed(told: Told) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode(told)


def told_in(data: bytes | None) -> Told | None:
    """Return what JSON tells; None: there is none, or of another version."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Told)
    except msgspec.MsgspecError:
        return None
