"""The bound of a spool: what is said before it is reached, and what happens there."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pdp.counters.memory import MemoryCounters
from pdp.errors import SpoolFailed
from pdp.records import decode
from pdp.spool.journal import Journal
from pdp.spool.keeper import SpoolKeeper
from pdp.spool.room import MAX_BYTES, Room
from pdp.spool.segment import list_segments
from tests.unit.spool.desk import NOON, held

MOST = 32_000
MINUTE = 60_000_000_000


def opened(directory: Path, max_bytes: int = MOST) -> Journal:
    journal = Journal(directory, max_bytes=max_bytes)
    journal.open("spool-1")
    return journal


def on_disk(directory: Path) -> int:
    return sum(each.path.stat().st_size for each in list_segments(directory))


def fill_up(journal: Journal) -> int:
    """Append until that is refused; return how many records that were."""
    first = journal.next_sequence
    match = rf"the spool has reached its bound of {MOST} bytes \(PDP_SPOOL_MAX_BYTES\)"
    with pytest.raises(SpoolFailed, match=match):  # noqa: PT012  The bound comes at last.
        while journal.next_sequence < first + 10_000:
            journal.append(held(journal.next_sequence))
    return journal.next_sequence - first


def test_a_spool_ends_at_its_bound_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    written = fill_up(journal)
    longest = max(each.path.stat().st_size for each in list_segments(tmp_path))
    assert MOST - 2 * longest < on_disk(tmp_path) <= MOST + longest
    assert journal.size == on_disk(tmp_path)
    assert fill_up(journal) == 0
    assert (journal.next_sequence, journal.records, journal.crowded) == (written, written, True)
    journal.sync()
    journal.shipped(written)
    journal.drop(covered=journal.closed_until())
    assert journal.size == on_disk(tmp_path) < MOST // 8
    assert not journal.crowded
    assert journal.records == written - journal.closed_until()
    assert 0 < fill_up(journal) <= written
    journal.sync()
    found = [decode(record).at - NOON for _, record in journal.read(written, 10)]
    assert found == list(range(written, written + 10))
    journal.close()


def test_a_start_counts_what_is_there(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill_up(journal)
    journal.close()
    journal = opened(tmp_path)
    assert (journal.size, journal.crowded) == (on_disk(tmp_path), True)
    assert fill_up(journal) == 0
    journal.close()
    journal = opened(tmp_path, max_bytes=10 * MOST)
    assert not journal.crowded
    journal.append(held(journal.next_sequence))
    journal.close()


def test_nine_tenths_are_crowded() -> None:
    room = Room(1000, 100)
    for number in range(7):
        room.closed(number, 100)
    assert (room.taken, room.crowded) == (700, False)
    room.closed(7, 101)
    assert room.crowded
    assert room.has_another(99)
    assert not room.has_another(100)
    room.dropped(0)
    assert not room.crowded


def test_the_default_has_segments_of_a_size_that_is_quick_to_replay() -> None:
    assert Room(MAX_BYTES).segment_bytes == 32 * 1024 * 1024
    assert Room(1 << 20).segment_bytes == 1 << 16


async def test_it_is_said_every_minute_that_a_spool_fills_up_and_once_that_it_does_not(
    tmp_path: Path,
) -> None:
    journal, now = opened(tmp_path), [NOON]
    keeper = SpoolKeeper(journal, MemoryCounters(), lambda: now[0])
    with capture_logs() as logs:
        await keeper.keep()
        fill_up(journal)
        for step in (0, MINUTE - 1, 1, -5 * MINUTE):
            now[0] += step
            await keeper.keep()
    said = [each for each in logs if each["event"].startswith("the spool fills up")]
    assert len(said) == 3, "at once, after a minute, and when the clock went back"
    assert said[0]["log_level"] == "warning"
    assert (said[0]["bytes"], said[0]["max_bytes"]) == (journal.size, MOST)
    assert said[0]["denials"] == "leave no audit entry"
    journal.sync()
    journal.shipped(journal.next_sequence)
    with capture_logs() as logs:
        for _ in range(3):
            await keeper.keep()
    assert [each["event"] for each in logs] == ["the spool has room again"]
    keeper.close()


@pytest.mark.parametrize("share", [0.5, 0.79])
async def test_a_spool_with_room_is_not_worth_a_word(tmp_path: Path, share: float) -> None:
    journal = opened(tmp_path)
    while journal.size < share * MOST - 1000:
        journal.append(held(journal.next_sequence))
    keeper = SpoolKeeper(journal, MemoryCounters(), lambda: NOON)
    with capture_logs() as logs:
        await keeper.keep()
    assert logs == []
    keeper.close()
