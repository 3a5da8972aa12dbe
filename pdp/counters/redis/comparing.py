"""What the script is asked where counters are compared with the ledger. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pdp.counters.redis.asks import packed_holds
from pdp.quota.hold import Hold
from pdp.reconcile.flight import Move
from pdp.reconcile.sums import Place, Sums

_PERIODS: Final[Mapping[str, int]] = {"day": 1, "month": 2, "total": 3}
_pack = msgspec.msgpack.Encoder().encode
_move = msgspec.msgpack.Decoder(Move)


def watch(who: str) -> bytes:
    """Ask to watch a root, alone."""
    return _pack(("w", who))


def leave(who: str) -> bytes:
    """Watch no longer."""
    return _pack(("n", who))


def values(who: str, first: int, places: Sequence[Place]) -> bytes:
    """Read sums, and what moved from the note `first` on."""
    return _pack(("v", who, first, [_place(place) for place in places]))


def live(start: int, skip: int, most: int) -> bytes:
    """Read live holds that end at microsecond `start` or later, without the first `skip`."""
    return _pack(("l", str(start), skip, most))


def adjust(who: str, number: int, changes: Iterable[tuple[Place, Sums]]) -> bytes:
    """Add differences to sums, once under a number."""
    rows = [(*_place(place), *map(str, change)) for place, change in changes]
    return _pack(("j", who, number, rows))


def restore(who: str, ends: int, holds: Sequence[Hold]) -> bytes:
    """Hold again what was lost, until `ends` (ns) if nobody publishes it."""
    return _pack(("r", who, str(ends), packed_holds(holds)))


def moves_of(answer: Sequence[bytes]) -> list[Move]:
    """Return the notes of what moved."""
    return [_move.decode(each) for each in answer]


def sums_of(answer: Sequence[Sequence[Any]]) -> list[Sums]:
    """Return sums in the order in which they were asked for."""
    return [Sums(*(int(each or 0) for each in found)) for found in answer]


def _place(place: Place) -> tuple[str, int, int]:
    return place.key_id, _PERIODS[place.period], place.start
