"""Reading a spool in order while it grows, from where the last call ended."""

import os
from pathlib import Path
from typing import Final

from pdp.errors import SpoolFailed
from pdp.spool.frame import HEADER, LONGEST, record_at
from pdp.spool.segment import Segment, list_segments

_CHUNK: Final = 256 * 1024
_MOST_BYTES: Final = 1024 * 1024
"""What one call returns, to stay well below the limits of a message that carries it."""


class Reader:
    """Keeps its place: the next record's sequence number, segment and offset."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1
        self._segment: Segment | None = None
        self._next = 0
        self._offset = 0

    def read(self, start: int, end: int, most: int) -> list[tuple[int, bytes]]:
        """Return up to `most` records from `start` on, and before `end`; about 1 MiB at most.

        Starts with the first record there is where older ones were dropped.
        Raises `SpoolFailed` when a record is damaged or cannot be read.
        """
        if start >= end:
            return []
        try:
            if self._segment is None or start != self._next:
                self._seek(start)
            found: list[tuple[int, bytes]] = []
            size = 0
            while self._next < end and len(found) < most and size < _MOST_BYTES:
                skip = start - self._next
                for record in self._chunk(
                    skip if skip > 0 else min(most - len(found), end - self._next)
                ):
                    if self._next >= start:
                        found.append((self._next, record))
                        size += len(record)
                    self._next += 1
        except OSError as error:
            self.close()
            raise SpoolFailed(f"cannot read the spool: {error.strerror}") from error
        return found

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._segment = None

    def _seek(self, start: int) -> None:
        """Go to the start of the segment that has the record."""
        segments = list_segments(self._directory)
        if not segments:
            raise SpoolFailed("the spool has lost its segments: restart the data plane")
        before = [segment for segment in segments if segment.first <= start]
        self._open(before[-1] if before else segments[0])

    def _open(self, segment: Segment) -> None:
        self.close()
        self._fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        self._segment, self._next, self._offset = segment, segment.first, 0

    def _chunk(self, most: int) -> list[bytes]:
        """Return the next records, at least one; the caller knows that there is one."""
        found = self._parse(os.pread(self._fd, _CHUNK, self._offset), most)
        if not found:
            found = self._parse(os.pread(self._fd, HEADER.size + LONGEST, self._offset), 1)
        if not found:
            following = [s for s in list_segments(self._directory) if s.first == self._next]
            if not following or following[0] == self._segment:
                raise SpoolFailed(
                    f"record {self._next} of the spool is damaged: restart the data plane"
                )
            self._open(following[0])
            return self._chunk(most)
        return found

    def _parse(self, data: bytes, most: int) -> list[bytes]:
        found: list[bytes] = []
        offset = 0
        while len(found) < most and (record := record_at(data, offset)) is not None:
            found.append(record)
            offset += HEADER.size + len(record)
        self._offset += offset
        return found
