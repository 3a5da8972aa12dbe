"""The sink over a disk that fills up and is well again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from pdp.errors import SpoolFailed
from pdp.records import Denied, Extended, Facts, Record
from pdp.serve.sink import JournalSink


def record(number: int) -> Record:
    return Extended(number, f"res_{number}", number)


def denial(number: int) -> Record:
    facts = Facts(f"dec_{number}", "", "key", "", "org", "", "", "", "", "", "", "", {})
    return Denied(number, facts, "budget_exceeded", 403, ("key",))


class Disk:
    """A journal whose disk is full while `full`; `synced` is set by each sync."""

    def __init__(self) -> None:
        self.full = False
        self.crowded = False
        self.unspeakable = -1
        self.written: list[Record] = []
        self.writes = 0
        self.synced = asyncio.Event()

    def append(self, *records: Record) -> None:
        if self.full:
            raise SpoolFailed("no space left on device")
        if any(each.at == self.unspeakable for each in records):
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        self.written += records
        self.writes += 1

    def sync(self) -> None:
        self.synced.set()


@pytest.fixture
async def disk() -> Disk:
    return Disk()


@contextlib.asynccontextmanager
async def syncing(sink: JournalSink) -> AsyncIterator[None]:
    task = asyncio.create_task(sink.sync_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def kept(sink: JournalSink, number: int) -> bool:
    with pytest.raises(SpoolFailed) as failed:
        sink.append(record(number))
    return failed.value.kept


async def test_what_is_written_is_synced(disk: Disk) -> None:
    sink = JournalSink(disk, interval=0)
    async with syncing(sink):
        sink.append(record(1))
        await asyncio.wait_for(disk.synced.wait(), 60)
    assert disk.written == [record(1)]
    assert not sink.owing


async def test_a_full_disk_gets_its_records_later_and_in_their_order(disk: Disk) -> None:
    sink = JournalSink(disk)
    sink.append(record(1))
    disk.full = True
    assert kept(sink, 2)
    disk.full = False
    assert kept(sink, 3), "a record must not go before one that waits"
    assert sink.owing
    await sink.pay()
    assert disk.written == [record(1), record(2), record(3)]
    sink.append(record(4))
    assert disk.written[-1] == record(4)


async def test_what_waits_is_written_without_another_record_coming(disk: Disk) -> None:
    sink = JournalSink(disk, interval=0, retry_delay=0)
    disk.full = True
    async with syncing(sink):
        assert kept(sink, 1)
        await asyncio.sleep(0)
        disk.full = False
        await asyncio.wait_for(disk.synced.wait(), 60)
    assert disk.written == [record(1)]


async def test_a_batch_is_written_in_one_go(disk: Disk) -> None:
    sink = JournalSink(disk)
    sink.begin()
    for number in (1, 2, 3):
        sink.append(record(number))
    assert disk.written == []
    sink.end()
    assert (disk.written, disk.writes) == ([record(1), record(2), record(3)], 1)
    sink.append(record(4))
    assert disk.writes == 2
    sink.begin()
    sink.end()
    assert disk.writes == 2


async def test_a_batch_that_cannot_be_written_is_kept(disk: Disk) -> None:
    sink = JournalSink(disk, most_owed=2)
    disk.full = True
    sink.begin()
    for number in (1, 2, 3):
        sink.append(record(number))
    sink.end()
    assert sink.owing
    assert sink.failures == 3
    disk.full = False
    sink.begin()
    sink.append(record(4))
    sink.end()
    assert disk.written == [], "what waits goes first"
    await sink.pay()
    assert disk.written == [record(1), record(2)], "and what had no room is lost"


async def test_much_that_waits_is_written_in_slices(disk: Disk) -> None:
    sink = JournalSink(disk)
    disk.full = True
    assert all(kept(sink, number) for number in range(1000))
    disk.full = False
    paying = asyncio.create_task(sink.pay())
    await asyncio.sleep(0)
    assert 0 < len(disk.written) < 300
    assert kept(sink, 1000), "its turn comes"
    await paying
    assert disk.written == [record(number) for number in range(1001)]


async def test_a_record_that_cannot_be_written_down_takes_no_other_with_it(disk: Disk) -> None:
    sink = JournalSink(disk)
    disk.unspeakable = 2
    sink.begin()
    for number in (1, 2, 3):
        sink.append(record(number))
    sink.end()
    assert disk.written == [record(1), record(3)]
    assert sink.failures == 1


async def test_memory_is_bounded_and_what_does_not_fit_is_lost(disk: Disk) -> None:
    sink = JournalSink(disk, most_owed=2)
    disk.full = True
    assert [kept(sink, number) for number in (1, 2, 3)] == [True, True, False]
    with pytest.raises(SpoolFailed):
        await sink.pay()
    disk.full = False
    await sink.pay()
    assert disk.written == [record(1), record(2)]


async def test_where_room_gets_scarce_denials_leave_it_to_what_counts(disk: Disk) -> None:
    sink = JournalSink(disk)
    sink.append(denial(1))
    disk.crowded = True
    sink.append(denial(2))
    sink.begin()
    for each in (record(3), denial(4), record(5)):
        sink.append(each)
    sink.end()
    assert disk.written == [denial(1), record(3), record(5)]
    assert (sink.skipped, sink.failures) == (2, 0)


async def test_denials_leave_half_of_memory_to_what_counts(disk: Disk) -> None:
    sink = JournalSink(disk, most_owed=4)
    disk.full = True
    for number in range(2):
        with pytest.raises(SpoolFailed):
            sink.append(denial(number))
    sink.append(denial(2))
    assert (sink.waiting, sink.skipped) == (2, 1)
    assert [kept(sink, number) for number in (3, 4, 5)] == [True, True, False]
    disk.full = False
    await sink.pay()
    assert disk.written == [denial(0), denial(1), record(3), record(4)]


async def test_what_is_durable_was_written_and_synced_and_a_full_disk_says_so(disk: Disk) -> None:
    sink = JournalSink(disk)
    sink.append(record(1))
    await sink.durable()
    assert disk.synced.is_set()
    disk.full = True
    assert kept(sink, 2)
    disk.synced.clear()
    with pytest.raises(SpoolFailed):
        await sink.durable()
    assert not disk.synced.is_set()
    disk.full = False
    await sink.durable()
    assert disk.synced.is_set()
    assert [each.at for each in disk.written] == [1, 2]
