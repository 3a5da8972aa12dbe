"""Settled requests: remembered for 48 hours at least, in memory or on disk."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pdp.counters.seen import MemorySeen, Seen, SqliteSeen
from pdp.errors import SpoolFailed, StartRefused, Unavailable

HOUR = 3600 * 1_000_000_000
NOW = 1_795_435_200 * 1_000_000_000


@pytest.fixture(params=["memory", "file"])
def seen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Seen]:
    made: Seen = MemorySeen() if request.param == "memory" else SqliteSeen(tmp_path / "seen.db")
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteSeen]:
    made = SqliteSeen(tmp_path / "seen.db")
    yield made
    made.close()


def test_what_was_added_is_there_before_and_after_a_flush(seen: Seen) -> None:
    seen.add("k", "r", NOW)
    for _ in range(2):
        assert seen.has("k", "r")
        assert not seen.has("k", "R")
        assert not seen.has("kr", "")
        seen.flush()


def test_what_was_looked_up_in_vain_is_found_once_it_is_added(seen: Seen) -> None:
    for request in ("r", "", "s"):
        assert not seen.has("k", request)
        assert not seen.has("k", request)
        seen.add("k", request, NOW)
        assert seen.has("k", request)
        seen.flush()
        assert seen.has("k", request)


def test_each_day_is_asked(seen: Seen) -> None:
    for day in range(4):
        seen.add("k", f"r{day}", NOW + day * 24 * HOUR)
        seen.flush()
    assert [seen.has("k", f"r{day}") for day in range(5)] == [True] * 4 + [False]


def test_48_hours_are_remembered_and_five_days_are_not(seen: Seen) -> None:
    seen.add("k", "r", NOW)
    seen.flush()
    seen.prune(NOW + 49 * HOUR)
    assert seen.has("k", "r")
    seen.prune(NOW + 120 * HOUR)
    assert not seen.has("k", "r")


def test_the_file_outlives_the_process(tmp_path: Path) -> None:
    first = SqliteSeen(tmp_path / "seen.db")
    first.add("k", "r", NOW)
    first.add("k", "s", NOW + 24 * HOUR)
    first.flush()
    assert len(first) == 0
    first.add("k", "lost", NOW)
    first.close()
    second = SqliteSeen(tmp_path / "seen.db")
    assert [second.has("k", each) for each in ("r", "s", "lost")] == [True, True, False]
    second.close()


def test_no_request_is_missed_while_a_flush_runs(file: SqliteSeen) -> None:
    with ThreadPoolExecutor(1) as thread:
        flushing = thread.submit(file.flush)
        for number in range(3000):
            file.add("k", str(number), NOW + number % 3 * 24 * HOUR)
            assert file.has("k", str(number // 2))
            if flushing.done():
                flushing.result()
                flushing = thread.submit(file.flush)
        flushing.result()
    assert all(file.has("k", str(number)) for number in range(3000))


def test_a_flush_that_fails_keeps_everything(file: SqliteSeen, tmp_path: Path) -> None:
    file._writer.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "seen.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    file.add("k", "r", NOW)
    with pytest.raises(SpoolFailed, match="cannot note"):
        file.flush()
    assert file.has("k", "r")
    assert len(file) == 1
    other.execute("ROLLBACK")
    other.close()
    file.flush()
    assert len(file) == 0
    assert file.has("k", "r")


def test_a_look_up_that_fails_is_unavailable(file: SqliteSeen) -> None:
    file.add("k", "r", NOW)
    file.flush()
    file._reader.close()
    with pytest.raises(Unavailable, match="cannot look up"):
        file.has("k", "s")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "seen.db").write_bytes(b"this is my diary\n" * 500)
    with pytest.raises(StartRefused, match=r"seen\.db"):
        SqliteSeen(tmp_path / "seen.db")
