"""How much room a spool has left, and what follows (docs/durability.md).

| taken, of `max_bytes` | |
| --- | --- |
| 4/5 | the log says so every minute |
| 9/10 | denials leave no entry: they move no counter, and anybody may cause them |
| all | nothing is written, as on a full disk: verdicts stand, reports are not acknowledged |

It is looked at when a segment is full, so an append costs nothing more for it.
"""

from typing import Final

MAX_BYTES: Final = 8 * 1024**3
"""A request leaves about 0.8 kB: three hours of a thousand a second."""
SEGMENT_BYTES: Final = 32 * 1024 * 1024
_SEGMENTS: Final = 16
"""Segments that a spool has room for, at least."""


class Room:
    """Counts the bytes of closed segments; the open one is its owner's to count.

    One thread closes segments, another may drop them.
    """

    def __init__(self, max_bytes: int, segment_bytes: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes or min(SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self.crowded = False
        """Nine tenths are taken."""
        self._closed: dict[int, int] = {}

    @property
    def taken(self) -> int:
        """Bytes of the closed segments."""
        return sum(list(self._closed.values()))

    def oldest(self, current: int) -> int:
        """Return the first record that is there, when the open segment begins with `current`."""
        return min([current, *self._closed])

    def closed(self, first: int, size: int) -> None:
        """Note that a segment has come to its end."""
        self._closed[first] = size
        self._look()

    def dropped(self, first: int) -> None:
        """Note that a segment is gone."""
        self._closed.pop(first, None)
        self._look()

    def has_another(self, size: int) -> bool:
        """Tell whether a new segment fits beside one that ends at `size`."""
        return self.taken + size + self.segment_bytes <= self.max_bytes

    def _look(self) -> None:
        # The open segment counts as full: nobody looks again before it is.
        self.crowded = (self.taken + self.segment_bytes) * 10 > self.max_bytes * 9
