"""The spool: every hold and settlement, on disk before it is answered.

A record is one `write(2)`: a killed process loses none, a power cut those since
the last `sync`. Only synced records are shipped, so that the ledger never knows
more than the spool. A segment is dropped when the ledger and a checkpoint have it.
Where that takes too long the spool ends at its bound (pdp/spool/room.py).
"""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Lock

from pdp.errors import SpoolFailed, StartRefused
from pdp.records import Record, encode
from pdp.spool.folder import FolderLock, prepare, spool_id_of, sync_file, sync_folder
from pdp.spool.frame import frame_of
from pdp.spool.mark import Mark
from pdp.spool.reader import Reader
from pdp.spool.rewrite import write_again
from pdp.spool.room import MAX_BYTES, Room
from pdp.spool.segment import Segment, list_segments, measure, segment_path


class Journal:
    """One directory, one writer. `sync`, `read` and `drop` may run in threads beside the rest.

    `next_sequence` is the number of the next record, `truncated` how many bytes
    of a torn last write were cut off when it was opened. `max_bytes` bounds its segments.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int | None = None
    ) -> None:
        self.directory = directory
        self.spool_id = ""
        self.next_sequence = 0
        self.truncated = 0
        self.room = Room(max_bytes, segment_bytes)
        self._segment_bytes = self.room.segment_bytes
        self._lock = FolderLock(directory)
        self._reader = Reader(directory)
        self._mark = Mark(directory)
        self._fd = -1
        self._size = 0
        self._first = 0
        self._dirty_tail = False
        self._doubtful = False
        self._shipped = 0
        self._synced = 0
        self._retired: list[int] = []
        self._sync_lock = Lock()
        self._read_lock = Lock()

    def open(
        self, new_spool_id: str, wait: float = 0.0, covered: Callable[[], int] = lambda: 0
    ) -> None:
        """Lock, check and open the spool for appending; a new one gets `new_spool_id`.

        Tries for `wait` seconds to get the lock. Segments below the record `covered` (in a
        checkpoint) are not read: a start takes as long after an hour without a ledger as
        after a minute, and who ships them sees damage. Raises `StartRefused`.
        """
        try:
            prepare(self.directory)
            self._take(wait)
            fresh = not list_segments(self.directory)
            self.spool_id = spool_id_of(self.directory, new_spool_id, fresh=fresh)
            self._recover(covered)
        except OSError as error:
            self.close()
            raise StartRefused(
                f"cannot use the spool {self.directory}: {error.strerror}"
            ) from error
        except StartRefused:
            self.close()
            raise

    def _take(self, wait: float) -> None:
        if not self._lock.acquire(wait):
            raise StartRefused(
                f"the spool {self.directory} is in use by another process: stop that first"
            )

    def _recover(self, covered: Callable[[], int]) -> None:
        """Check what a replay needs, cut a torn last record off, and go to the end."""
        segments = list_segments(self.directory)
        mark = self._mark.open()
        if segments:
            known = covered() if len(segments) > 1 and mark is not None else 0
            for segment, following in pairwise(segments):
                if following.first > min(known, mark or 0):
                    _check_closed(segment, following)
                if mark is None or mark < following.first:
                    sync_file(segment.path)
                self.room.closed(segment.first, segment.path.stat().st_size)
            self._take_up(segments[-1], mark)
        else:
            self._create(0)
        # A killed process may have left it to the kernel; from here on it counts as synced.
        os.fsync(self._fd)
        sync_folder(self.directory)
        self._synced = self.next_sequence
        self._mark.make(self._synced)

    def _take_up(self, last: Segment, mark: int | None) -> None:
        """Go on in the last segment; `mark` is up to where it was synced, if anybody knows."""
        extent = measure(last.path)
        end = last.first + extent.records
        if (extent.torn and mark is None) or (mark is not None and end < mark):
            raise _damaged(last.path, extent.size)
        self._fd = os.open(last.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._first, self._size, self.next_sequence = last.first, extent.size, end
        if extent.torn:
            os.ftruncate(self._fd, extent.size)
            self.truncated = extent.torn

    def _create(self, first: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(segment_path(self.directory, first), flags, 0o600)
        self._first, self._size = first, 0

    @property
    def size(self) -> int:
        """Bytes in all segments."""
        return self.room.taken + self._size

    @property
    def records(self) -> int:
        """How many records are on disk."""
        return self.next_sequence - self.room.oldest(self._first)

    @property
    def crowded(self) -> bool:
        """Whether what moves no counter should leave the rest of the room to what does."""
        return self.room.crowded

    def append(self, *records: Record) -> None:
        """Write records, all in one go. Raises `SpoolFailed`; then nothing of them stays."""
        frame = b"".join([frame_of(encode(record)) for record in records])
        if self._size >= self._segment_bytes:
            self._rotate()
        try:
            if self._dirty_tail:
                self._cut_tail()
            written = os.write(self._fd, frame)
        except OSError as error:
            self._dirty_tail = True
            raise SpoolFailed(f"cannot write the spool: {error.strerror}") from error
        if written != len(frame):
            self._dirty_tail = True
            self._try_to_cut_tail()
            raise SpoolFailed("cannot write the spool: No space left on device")
        self._size += written
        self.next_sequence += len(records)

    def _cut_tail(self) -> None:
        os.ftruncate(self._fd, self._size)
        self._dirty_tail = False

    def _try_to_cut_tail(self) -> None:
        try:
            self._cut_tail()
        except OSError:
            # The next append tries again, and a restart would cut it off.
            self._dirty_tail = True

    def _rotate(self) -> None:
        """Go on in a new segment; where none can be made, in the old.

        Raises `SpoolFailed` at the bound: it costs a look here, and nothing at other appends.
        """
        if self._dirty_tail:
            return
        if not self.room.has_another(self._size):
            raise SpoolFailed(
                f"the spool has reached its bound of {self.room.max_bytes} bytes "
                "(PDP_SPOOL_MAX_BYTES): see why the ledger does not take its records"
            )
        first, size = self._first, self._size
        # Retired before it is replaced: a sync that runs meanwhile must not miss it.
        self._retired.append(self._fd)
        try:
            self._create(self.next_sequence)
        except OSError:
            self._retired.pop()
        else:
            self.room.closed(first, size)

    def sync(self) -> None:
        """Make what was appended survive a power cut; blocks. Raises `SpoolFailed`."""
        with self._sync_lock:
            # In this order: what is appended in the meantime is synced the next time.
            sequence, current = self.next_sequence, self._fd
            try:
                retired = [fd for fd in self._retired if fd != current]
                if self._doubtful:
                    self._write_again([*retired, current])
                for fd in retired:
                    os.fsync(fd)
                    self._retired.remove(fd)
                    os.close(fd)
                if retired:
                    sync_folder(self.directory)
                os.fsync(current)
            except OSError as error:
                self._doubtful = True
                raise SpoolFailed(f"cannot sync the spool: {error.strerror}") from error
            self._doubtful = False
            self._synced = max(self._synced, sequence)
            self._mark.write(self._synced)

    def _write_again(self, descriptors: list[int]) -> None:
        for fd in descriptors:
            size = self._size
            # What has been closed is whole; of the open segment, as far as records go.
            write_again(fd, size if fd == self._fd else os.fstat(fd).st_size)

    def read(self, from_sequence: int, max_records: int) -> list[tuple[int, bytes]]:
        """Return (sequence, record) in order of what is synced; empty: nothing newer.

        At most `max_records` and about 1 MiB. Raises `SpoolFailed`.
        """
        with self._read_lock:
            return self._reader.read(from_sequence, self._synced, max_records)

    def shipped(self, next_sequence: int) -> None:
        """Note that every record below is in the ledger."""
        self._shipped = next_sequence

    def shipped_until(self) -> int:
        """Return the sequence number below which every record is in the ledger, as last heard."""
        return self._shipped

    def closed_until(self) -> int:
        """Return the sequence number below which segments are complete."""
        return self._first

    def drop(self, covered: int) -> int:
        """Delete segments whose records are shipped and below `covered` (in a checkpoint).

        Returns how many. Raises `SpoolFailed`.
        """
        end = min(self._shipped, covered, self._first)
        dropped = 0
        try:
            segments = list_segments(self.directory)
            for segment, following in pairwise(segments):
                if following.first > end:
                    break
                segment.path.unlink()
                self.room.dropped(segment.first)
                dropped += 1
        except OSError as error:
            raise SpoolFailed(f"cannot drop a segment: {error.strerror}") from error
        return dropped

    def close(self) -> None:
        """Close all files and let the lock go; what is not synced stays in the kernel's hands."""
        with self._read_lock:
            self._reader.close()
        with self._sync_lock:
            for fd in (*self._retired, self._fd):
                if fd >= 0:
                    os.close(fd)
            self._retired = []
            self._fd = -1
            self._mark.close()
        self._lock.release()


def _check_closed(segment: Segment, following: Segment) -> None:
    """See that a segment is whole and ends where the next one begins. Raises `StartRefused`."""
    extent = measure(segment.path)
    if extent.torn:
        raise _damaged(segment.path, extent.size)
    end = segment.first + extent.records
    if end != following.first:
        raise StartRefused(
            f"{following.path} does not follow record {end - 1}: restore what is missing"
        )


def _damaged(path: Path, offset: int) -> StartRefused:
    return StartRefused(
        f"{path} is damaged at byte {offset}: restore it from a backup, or move the "
        "spool away and accept that what was not shipped is lost"
    )
