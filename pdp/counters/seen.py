"""Which requests were settled, by (key_id, request_id): reports count once for 48 hours.

Only reports that name no reservation are looked up here. The file is derived
state: replaying the spool makes it again, so `flush` comes before segments go.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

from pdp.errors import SpoolFailed, StartRefused, Unavailable

_DAY: Final = 86_400_000_000_000
_DAYS_KEPT: Final = 3
"""Whole days after the one in which a request was seen: 72 hours at least."""
_NOTHING: Final = ("", "", b"")


class Seen(Protocol):
    """A set of requests that forgets after 72 hours or more."""

    def add(self, key_id: str, request_id: str, at: int) -> None:
        """Note that a request was settled at `at` (ns)."""
        ...

    def has(self, key_id: str, request_id: str) -> bool:
        """Tell whether a request was settled. Raises `Unavailable`."""
        ...

    def flush(self) -> None:
        """Put what is only in memory on disk; may run in a thread. Raises `SpoolFailed`."""
        ...

    def prune(self, now: int) -> None:
        """Forget what is old at `now` (ns); may run in a thread. Raises `SpoolFailed`."""
        ...

    def close(self) -> None:
        """Let go of the disk; nothing else is called afterwards."""
        ...


def digest_of(key_id: str, request_id: str) -> bytes:
    """Return 16 bytes that stand for a request. `key_id` has no line break."""
    return blake2b(f"{key_id}\n{request_id}".encode(), digest_size=16).digest()


class MemorySeen:
    """Keeps everything in memory: for tests, and for a compaction that looks nothing up."""

    def __init__(self) -> None:
        self._days: dict[int, set[bytes]] = {}

    def add(self, key_id: str, request_id: str, at: int) -> None:
        """Note a request."""
        self._days.setdefault(at // _DAY, set()).add(digest_of(key_id, request_id))

    def has(self, key_id: str, request_id: str) -> bool:
        """Tell whether a request is noted."""
        digest = digest_of(key_id, request_id)
        return any(digest in day for day in self._days.values())

    def flush(self) -> None:
        """Do nothing: there is no disk."""

    def prune(self, now: int) -> None:
        """Forget old days."""
        for day in [day for day in self._days if day < now // _DAY - _DAYS_KEPT]:
            del self._days[day]

    def close(self) -> None:
        """Do nothing: there is no disk."""


class SqliteSeen:
    """Recent requests in a dict, the others in a file with one table a day.

    What was looked up last and is not there is known to be missing until it is added: a
    usage is looked up when it is located and when it is settled, and added then.
    `add` and `has` belong to one thread, `flush` and `prune` may run in another
    at the same time. A table a day makes forgetting a DROP instead of a scan.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises `StartRefused`."""
        self._recent: dict[bytes, int] = {}
        self._flushing: dict[bytes, int] = {}
        self._missed = _NOTHING
        self._lock = Lock()
        self._swap = Lock()
        try:
            self._writer = _connect(path)
            self._reader = _connect(path)
            self._remember(self._read_days())
        except sqlite3.Error as error:
            raise StartRefused(
                f"cannot open {path}: {error}; if it is damaged, move it away: only reports "
                "without a reservation_id could then count twice"
            ) from error

    def __len__(self) -> int:
        """Return how many requests are not on disk yet."""
        return len(self._recent) + len(self._flushing)

    def add(self, key_id: str, request_id: str, at: int) -> None:
        """Note a request; no I/O."""
        digest = self._missing(key_id, request_id) or digest_of(key_id, request_id)
        self._missed = _NOTHING
        with self._swap:
            self._recent[digest] = at

    def has(self, key_id: str, request_id: str) -> bool:
        """Tell whether a request is noted; to look into the file takes 5 us and 1.5 us a day."""
        if self._missing(key_id, request_id):
            return False
        digest = digest_of(key_id, request_id)
        # In this order: a flush moves entries from the first to the last.
        if digest in self._recent or digest in self._flushing or self._is_on_disk(digest):
            return True
        self._missed = (key_id, request_id, digest)
        return False

    def _is_on_disk(self, digest: bytes) -> bool:
        if not self._query:
            return False
        try:
            return self._reader.execute(self._query, (digest,)).fetchone() is not None
        except sqlite3.Error as error:
            raise Unavailable(f"cannot look up settled requests: {error}") from error

    def _missing(self, key_id: str, request_id: str) -> bytes:
        """Return the digest of what was looked up last and is not there, else nothing."""
        missed_key, missed_request, digest = self._missed
        return digest if missed_request == request_id and missed_key == key_id else b""

    def flush(self) -> None:
        """Move what is in memory to the file. Raises `SpoolFailed` and keeps it in memory."""
        with self._lock:
            with self._swap:
                batch = self._flushing = self._recent
                self._recent = {}
            try:
                with self._transaction():
                    for day in sorted({at // _DAY for at in batch.values()}):
                        self._insert(day, sorted(k for k, at in batch.items() if at // _DAY == day))
                self._remember(self._read_days())
            except SpoolFailed:
                with self._swap:
                    self._recent = {**batch, **self._recent}
                raise
            finally:
                self._flushing = {}

    def prune(self, now: int) -> None:
        """Drop the tables of old days."""
        with self._lock:
            old = [day for day in self._days if day < now // _DAY - _DAYS_KEPT]
            self._remember(tuple(day for day in self._days if day not in old))
            with self._transaction():
                for day in old:
                    self._writer.execute(f"DROP TABLE IF EXISTS seen_{day:d}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._writer.close()
            self._reader.close()

    def _remember(self, days: tuple[int, ...]) -> None:
        """Ask these days from now on, all at once: a question costs more than what it asks."""
        self._days = days
        self._query = " UNION ALL ".join(
            f"SELECT 1 FROM seen_{day:d} WHERE digest = ?1"  # noqa: S608  # an integer
            for day in days
        )

    def _insert(self, day: int, digests: list[bytes]) -> None:
        self._writer.execute(
            f"CREATE TABLE IF NOT EXISTS seen_{day:d} (digest BLOB PRIMARY KEY) WITHOUT ROWID"
        )
        self._writer.executemany(
            f"INSERT OR IGNORE INTO seen_{day:d} VALUES (?)",  # noqa: S608  # an integer
            ((digest,) for digest in digests),
        )

    def _read_days(self) -> tuple[int, ...]:
        """Return the days that have tables, the latest first."""
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'seen_[0-9]*'"
        with closing(self._writer.execute(query)) as rows:
            return tuple(sorted((int(name[5:]) for (name,) in rows), reverse=True))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise SpoolFailed(f"cannot note settled requests: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5.0)
    # Readers do not wait for the writer; a power cut may lose the latest entries, never the file.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
