"""Whether a data plane of this data dir has ever reached the Redis of its settings.

An address that nobody has reached yet is taken for a wrong one, and the start is refused. One
that was reached before is right: then Redis is away, and no data plane stays down for that,
whether or not its own spool has records. Nor does it take a rate for its own alone that it
shared then.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

_NAME: Final = "redis-reached"


class Reached:
    """A file in the data dir, which all workers share: `place` is the address, no credentials."""

    def __init__(self, data_dir: Path, place: str) -> None:
        self._path = data_dir / _NAME
        self._place = place

    def by(self) -> int:
        """Return how many data planes counted there when it was last heard; 0: none ever did."""
        try:
            place, _, planes = self._path.read_text("utf-8", "replace").strip().rpartition(" ")
        except OSError:
            return 0
        return int(planes) if place == self._place and planes.isdecimal() else 0

    def note(self, planes: int) -> None:
        """Note that it is reached, by so many data planes."""
        if self.by() != planes:
            # Without it a start needs records in its spool, or Redis.
            with suppress(OSError):
                self._path.write_text(f"{self._place} {planes}\n", "utf-8")
