"""One open log file, read line by line up to where it has grown."""

import os
from pathlib import Path
from typing import Final

from adapters.nginx.translate import MAX_LINE
from adapters.nginx.usage.place import START, Place
from adapters.nginx.usage.siblings import open_log

BLOCK: Final = 2 * MAX_LINE
"""Bytes that are read in one go."""


class Truncated(Exception):
    """The file is not any more what was read of it."""


class LogFile:
    """A file and how far it was read; `start` are the first `START` bytes of what was.

    `quiet_since` is when it was first seen to have grown no more, in s; None: it grows.
    """

    def __init__(self, path: Path, offset: int = 0, *, skipping: bool = False) -> None:
        """Open a file. Raises `OSError`, also if it is no regular one."""
        self._fd = open_log(path)
        self.inode = os.fstat(self._fd).st_ino
        self.offset = offset
        self.skipping = skipping
        self.start = os.pread(self._fd, min(offset, START), 0)
        self.quiet_since: float | None = None

    @property
    def place(self) -> Place:
        """How far it was read."""
        return Place(self.inode, self.offset, self.start, self.skipping)

    def head(self) -> bytes:
        """Return what the file begins with now. Raises `OSError`."""
        return os.pread(self._fd, START, 0)

    def read(self) -> list[bytes]:
        """Return the next lines, without their ends; none: there is no whole one.

        In the place of a line that is too long comes an empty one. Raises `Truncated` and
        `OSError`.
        """
        block = os.pread(self._fd, BLOCK, self.offset)
        # In this order: what was read before the file was cut off is true.
        size = os.fstat(self._fd).st_size
        if size < self.offset + len(block) or self.head()[: len(self.start)] != self.start:
            raise Truncated
        lines, taken = self._split(block)
        self.start += block[: min(taken, START - len(self.start))]
        self.offset += taken
        return lines

    def _split(self, block: bytes) -> tuple[list[bytes], int]:
        """Return the whole lines of a block, and how much of it they are."""
        end = block.rfind(b"\n")
        if end < 0:
            if self.skipping:
                return [], len(block)
            if len(block) <= MAX_LINE:
                return [], 0
            self.skipping = True
            return [b""], len(block)
        lines = block[:end].split(b"\n")
        if self.skipping:
            self.skipping = False
            del lines[0]
        return lines, end + 1

    def begin_again(self) -> None:
        """Go back to the beginning of what is a new file now."""
        self.offset, self.start, self.skipping = 0, b"", False

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)
