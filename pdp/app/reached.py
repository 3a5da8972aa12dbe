"""Whether a data plane of this data dir has ever reached the Redis of its settings.

An address that nobody has reached yet is taken for a wrong one, and the start is refused. One
that was reached before is right: then Redis is away, and no data plane stays down for that,
whether or not its own spool has records.
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

    def before(self) -> bool:
        """Tell whether it has been reached."""
        try:
            return self._path.read_text("utf-8", "replace").strip() == self._place
        except OSError:
            return False

    def note(self) -> None:
        """Note that it is."""
        if not self.before():
            # Without it a start needs records in its spool, or Redis.
            with suppress(OSError):
                self._path.write_text(self._place + "\n", "utf-8")
