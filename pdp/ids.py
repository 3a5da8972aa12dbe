"""Ids that cost next to nothing and are unique over restarts.

An id is `<boot>-<counter>`, the counter in base 36; `boot` is random text that
the shell makes at each start. A few bytes per boot are enough to tell later
whether an id was ever issued, so nothing has to be remembered of each.
"""

from collections.abc import Iterator
from itertools import count
from typing import Final

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LONGEST_COUNTER: Final = 13


class IdSource:
    """Makes the ids of one boot, in ascending order."""

    __slots__ = ("_ids",)

    def __init__(self, boot: str) -> None:
        self._ids = _ids(boot)

    def __call__(self) -> str:
        """Return the next id."""
        return next(self._ids)


def _ids(boot: str) -> Iterator[str]:
    pairs = [high + low for high in _DIGITS for low in _DIGITS]
    for high in count(1):
        prefix = f"{boot}-{_base36(high)}"
        for pair in pairs:
            yield prefix + pair


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text


class Issued:
    """Which ids were issued: the highest counter of each boot (with what stands before it).

    Ids are noted in the order in which they were made. An id below a noted one
    counts as issued.
    """

    __slots__ = ("_boots", "_last", "_last_at", "_prefix")

    def __init__(self, boots: dict[str, tuple[int, int]] | None = None) -> None:
        self._boots = dict(boots or {})
        self._prefix = "-"
        self._last = ""
        self._last_at = 0

    def note(self, made: str, at: int) -> None:
        """Note that an id was issued at `at` (ns)."""
        if not made.startswith(self._prefix):
            self._fold()
            self._prefix = made.rpartition("-")[0] + "-"
        self._last = made
        self._last_at = at

    def note_late(self, made: str, at: int) -> None:
        """Note that an id was issued, in whatever order."""
        self._fold()
        self.note(made, at)
        self._fold()

    def issued(self, made: str) -> bool:
        """Tell whether an id was issued by a boot that is remembered."""
        self._fold()
        boot, number = _split(made)
        return 0 <= number <= self._boots.get(boot, (-1, 0))[0]

    def boots(self) -> dict[str, tuple[int, int]]:
        """Return (highest counter, ns at which it was issued) by boot."""
        self._fold()
        return dict(self._boots)

    def forget(self, before: int) -> None:
        """Forget boots that issued nothing since `before` (ns)."""
        self._fold()
        self._boots = {boot: seen for boot, seen in self._boots.items() if seen[1] >= before}

    def _fold(self) -> None:
        """Parse the last id only when somebody needs to know."""
        boot, number = _split(self._last)
        if number > self._boots.get(boot, (-1, 0))[0]:
            self._boots[boot] = (number, self._last_at)


def _split(made: str) -> tuple[str, int]:
    """Return (boot, counter); counter -1 if this is no id of ours."""
    boot, _, counter = made.rpartition("-")
    well_formed = counter.isascii() and counter.isalnum() and len(counter) <= _LONGEST_COUNTER
    return (boot, int(counter, 36)) if well_formed else (boot, -1)
