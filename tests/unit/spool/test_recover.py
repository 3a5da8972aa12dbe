"""Start again after anything: what was acknowledged is there, once."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from pdp.counters.memory import EXPIRED_KEPT, MemoryCounters
from pdp.counters.seen import MemorySeen, Seen
from pdp.errors import SpoolFailed, StartRefused
from pdp.records import Expired, Record, Settled, decode
from pdp.spool.checkpoint import Checkpoint, load, save
from pdp.spool.compact import compact
from pdp.spool.folder import FolderLock
from pdp.spool.journal import Journal
from pdp.spool.keeper import SpoolKeeper
from pdp.spool.recover import recover
from pdp.spool.replay import restore
from pdp.spool.segment import list_segments
from tests.unit.spool.desk import NOON, held, opened, settled, totals


def start(directory: Path, segment_bytes: int = 2000) -> tuple[MemoryCounters, Journal]:
    return recover(directory, new_spool_id="s", now=NOON, segment_bytes=segment_bytes)


def write(counters: MemoryCounters, journal: Journal, records: list[Record]) -> None:
    for record in records:
        journal.append(record)
        counters.apply(record)
    journal.sync()


def history(count: int) -> list[Record]:
    """Return holds, two of three of them settled."""
    records: list[Record] = []
    for number in range(count):
        records.append(held(number, cost=number))
        if number % 3:
            records.append(settled(held(number, cost=number)))
    return records


def end(counters: MemoryCounters, journal: Journal) -> None:
    """Die without a word."""
    counters.seen.close()
    journal.close()


def test_a_replay_is_the_state_as_it_was(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(30))
    before = totals(counters)
    end(counters, journal)
    again, journal = start(tmp_path)
    assert totals(again) == before
    assert again.find_open("leaf", "r3") is not None
    assert again.locate("", "leaf", "r4", NOON) == "settled"
    assert again.locate(held(4).hold.reservation_id, "", "", NOON) == "settled"
    assert again.locate("res_boot-ffffff", "", "", NOON) == "unknown"
    end(again, journal)


def test_a_start_leaves_a_checkpoint_and_the_next_one_begins_there(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(30))
    count = journal.next_sequence
    end(counters, journal)
    counters, journal = start(tmp_path)
    present = load(tmp_path)
    assert present is not None
    assert present.next_sequence == count
    journal.shipped(count)
    assert journal.drop(count) > 0
    write(counters, journal, [held(999)])
    before = totals(counters)
    end(counters, journal)
    counters, journal = start(tmp_path)
    assert totals(counters) == before
    end(counters, journal)


def test_what_a_checkpoint_covers_is_not_read_at_the_start_and_still_not_shipped_damaged(
    tmp_path: Path,
) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(60))
    first, second, *others = list_segments(tmp_path)
    assert others
    compact(tmp_path, second.first)
    end(counters, journal)
    for segment in (second, first):
        data = bytearray(segment.path.read_bytes())
        data[20] ^= 1
        segment.path.write_bytes(data)
        if segment is second:  # A replay would need it.
            with pytest.raises(StartRefused, match=f"{segment.path} is damaged at byte 0"):
                start(tmp_path)
            data[20] ^= 1
            segment.path.write_bytes(data)
    counters, journal = start(tmp_path)
    with pytest.raises(SpoolFailed, match="record 0 of the spool is damaged"):
        journal.read(0, 100)
    assert len(journal.read(second.first, 10)) == 10
    end(counters, journal)


def test_compaction_is_the_same_as_a_replay(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(30))
    covered = compact(tmp_path, journal.closed_until())
    assert covered == journal.closed_until() > 0
    assert compact(tmp_path, journal.closed_until()) == covered
    write(counters, journal, history(60)[45:])
    assert compact(tmp_path, journal.closed_until()) == journal.closed_until() > covered
    journal.shipped(journal.next_sequence)
    assert journal.drop(covered) > 0
    before = totals(counters)
    end(counters, journal)
    counters, journal = start(tmp_path)
    assert totals(counters) == before
    end(counters, journal)


def test_an_older_checkpoint_never_takes_the_place_of_a_newer_one(tmp_path: Path) -> None:
    assert save(tmp_path, Checkpoint("s", 5, b"five"))
    assert not save(tmp_path, Checkpoint("s", 4, b"four"))
    present = load(tmp_path)
    assert present is not None
    assert present.state == b"five"
    assert save(tmp_path, Checkpoint("s", 6, b"six"))


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "checkpoint is damaged"),
        (lambda path: path.write_bytes(b""), "checkpoint is damaged"),
        (lambda path: path.unlink(), "the records from 0 to"),
        (lambda path: save(path.parent, Checkpoint("s", 10**6, b"")), "ends at record"),
        (lambda path: save(path.parent, Checkpoint("t", 10**6, b"")), "of another spool"),
    ],
)
def test_a_spool_that_lacks_something_is_refused_and_let_go(
    tmp_path: Path, spoil: object, line: str
) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(30))
    compact(tmp_path, journal.closed_until())
    journal.shipped(10**6)
    journal.drop(journal.closed_until())
    end(counters, journal)
    spoil(tmp_path / "checkpoint")  # type: ignore[operator]
    for _ in range(2):
        with pytest.raises(StartRefused, match=line):
            start(tmp_path)


def test_a_tail_that_is_cut_off_is_told(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(3))
    end(counters, journal)
    with list_segments(tmp_path)[-1].path.open("ab") as file:
        file.write(b"half a rec")
    with capture_logs() as log:
        end(*start(tmp_path))
    (entry,) = log
    assert (entry["log_level"], entry["bytes"]) == ("warning", 10)


def test_what_another_release_wrote_is_refused(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    end(counters, journal)
    save(tmp_path, Checkpoint("s", 0, b"\x00"))
    with pytest.raises(StartRefused, match="use the release that wrote it"):
        start(tmp_path)
    save(tmp_path, Checkpoint("s", 0, b"", version=2))
    with pytest.raises(StartRefused, match="has version 2"):
        start(tmp_path)


def test_a_record_of_another_release_is_refused_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    journal.append(held(0))
    monkeypatch.setattr("pdp.spool.journal.encode", lambda _record: b"\x91\xa1?")
    journal.append(held(1))
    journal.close()
    with pytest.raises(StartRefused, match="record 1 in"):
        start(tmp_path)


def test_a_damaged_index_of_settled_requests_is_named(tmp_path: Path) -> None:
    end(*start(tmp_path))
    (tmp_path / "seen.db").write_bytes(b"this is my diary\n" * 500)
    with pytest.raises(StartRefused, match=r"seen\.db"):
        start(tmp_path)


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.unit.spool.writer", str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(150):
                line = writer.stdout.readline()
            writer.kill()
            acknowledged = [line, *writer.stdout.read().splitlines(keepends=True)]
        counters, journal = start(tmp_path)
        last = int(next(line for line in reversed(acknowledged) if line.endswith("\n")).split()[0])
        assert journal.next_sequence in (last + 1, last + 2)
        expected = MemoryCounters()
        for _, record in _all(journal):
            expected.apply(decode(record))
        assert totals(counters) == totals(expected)
        end(counters, journal)
    assert len(list_segments(tmp_path)) > 2


def _all(journal: Journal) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while batch := journal.read(len(found), 1000):
        found += batch
    assert [sequence for sequence, _ in found] == list(range(journal.next_sequence))
    return found


# -- The keeper


async def test_the_keeper_compacts_and_drops_what_is_shipped(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    keeper = SpoolKeeper(journal, counters, lambda: NOON)
    for record in history(30):
        journal.append(record)
        counters.apply(record)
    await keeper.sync()
    assert len(journal.read(0, 100)) == journal.next_sequence
    await keeper.keep()
    present = load(tmp_path)
    assert present is not None
    assert present.next_sequence == journal.closed_until()
    segments = len(list_segments(tmp_path))
    journal.shipped(journal.next_sequence)
    await keeper.keep()
    assert len(list_segments(tmp_path)) == 1 < segments
    before = totals(counters)
    keeper.close()
    present = load(tmp_path)
    assert present is not None
    assert present.next_sequence == len(history(30))
    counters, journal = start(tmp_path)
    assert totals(counters) == before
    assert counters.locate("", "leaf", "r4", NOON) == "settled"
    end(counters, journal)


class Racing(MemorySeen):
    """An index of settled requests that is overtaken: more are settled right after a flush."""

    def __init__(self, inner: Seen, settle: Callable[[], None]) -> None:
        super().__init__()
        self._inner = inner
        self._settle: Callable[[], None] | None = settle

    def flush(self) -> None:
        self._inner.flush()
        if self._settle is not None:
            settle, self._settle = self._settle, None
            settle()

    def add(self, key_id: str, request_id: str, at: int) -> None:
        self._inner.add(key_id, request_id, at)


async def test_what_is_settled_while_the_keeper_works_is_not_forgotten(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    write(counters, journal, history(30))
    late = history(60)[45:]

    def rotate() -> None:
        before = journal.closed_until()
        write(counters, journal, late)
        assert journal.closed_until() > before

    seen = counters.seen
    counters.seen = Racing(seen, rotate)
    await SpoolKeeper(journal, counters, lambda: NOON).keep()
    seen.close()
    journal.close()  # Killed: nothing is flushed any more.
    counters, journal = start(tmp_path)
    for record in late:
        if isinstance(record, Settled):
            assert counters.seen.has(record.facts.key_id, record.facts.request_id)
    end(counters, journal)


async def test_a_compaction_forgets_what_can_no_longer_be_corrected(tmp_path: Path) -> None:
    counters, journal = start(tmp_path, segment_bytes=1)
    hold = held(1).hold
    gone = Expired(
        NOON, hold.decision_id, hold.reservation_id, "leaf", "r1", hold.cost or 0, 10, hold.windows
    )
    write(counters, journal, [held(1), gone])
    much_later = msgspec.structs.replace(held(2), at=NOON + EXPIRED_KEPT + 1)
    write(counters, journal, [held(2), much_later, held(3)])
    compact(tmp_path, 3)
    assert _expired_in_checkpoint(tmp_path) == [hold.reservation_id]
    compact(tmp_path, 4)
    assert _expired_in_checkpoint(tmp_path) == []
    end(counters, journal)


def _expired_in_checkpoint(directory: Path) -> list[str]:
    counters = MemoryCounters()
    restore(counters, load(directory), directory)
    return list(counters._holds.expired)


async def test_a_compaction_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, journal = start(tmp_path)
    keeper = SpoolKeeper(journal, counters, lambda: NOON)
    write(counters, journal, history(30))
    monkeypatch.setattr("pdp.spool.keeper.sys.executable", "/nowhere/python")
    with pytest.raises(SpoolFailed, match="cannot compact the spool: No such file"):
        await keeper.keep()
    monkeypatch.undo()
    await keeper.keep()
    present = load(tmp_path)
    assert present is not None
    assert present.next_sequence == journal.closed_until()
    end(counters, journal)


async def test_a_compaction_that_fails_says_why_and_nothing_is_dropped(tmp_path: Path) -> None:
    counters, journal = start(tmp_path)
    keeper = SpoolKeeper(journal, counters, lambda: NOON)
    write(counters, journal, history(30))
    journal.shipped(journal.next_sequence)
    (tmp_path / "checkpoint").write_bytes(b"nonsense")
    segments = list_segments(tmp_path)
    with pytest.raises(SpoolFailed, match="checkpoint is damaged"):
        await keeper.keep()
    assert list_segments(tmp_path) == segments
    with pytest.raises(SpoolFailed, match="cannot write a checkpoint"):
        keeper.close()
    opened(tmp_path).close()


def test_whoever_writes_a_checkpoint_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdp.spool.checkpoint._WAIT", 0.1)
    lock = FolderLock(tmp_path, "checkpoint.lock")
    assert lock.acquire(0)
    assert not save(tmp_path, Checkpoint("s", 1, b""))
    lock.release()
    lock.release()
    assert save(tmp_path, Checkpoint("s", 1, b""))
