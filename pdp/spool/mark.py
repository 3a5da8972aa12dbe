"""Up to which record a spool survives a power cut, as a number in a file of its own.

It is written after a sync and not synced itself: what a power cut leaves of it may be
too small, never too large. So damage below it is damage, however small; damage above it
is what was being written when the power went, however large.
"""

import os
from contextlib import suppress
from pathlib import Path

from pdp.errors import StartRefused

_NAME = "synced"


class Mark:
    """The number, rewritten in place: 20 digits, in one sector."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / _NAME
        self._fd = -1

    def open(self) -> int | None:
        """Return the number, None if there never was one. Raises `OSError`, `StartRefused`."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        text = os.pread(self._fd, 32, 0)
        if not text.strip(b"\0"):
            return None
        if not text.isdigit():
            raise StartRefused(f"{self._path} is damaged: restore it from a backup")
        return int(text)

    def make(self, number: int) -> None:
        """Write the number so that it stays: from then on there is one. Raises `OSError`."""
        os.pwrite(self._fd, b"%020d" % number, 0)
        os.fsync(self._fd)

    def write(self, number: int) -> None:
        """Write the number. A failure leaves the smaller one, which is true as well."""
        with suppress(OSError):
            os.pwrite(self._fd, b"%020d" % number, 0)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
