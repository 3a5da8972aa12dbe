"""Usage lines from real files that grow, are rotated, and outlive the one who reads them."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.nginx.usage import tail as tail_module
from adapters.nginx.usage.channel import Channel
from adapters.nginx.usage.intake import Intake
from adapters.nginx.usage.place import Places, load_places, save_places
from adapters.nginx.usage.tail import Tail
from pdp.errors import SpoolFailed, StartRefused
from pdp.model import Usage
from tests.stack import eventually_async
from tests.unit.nginx.desk import Office


class Desk:
    """A folder with a log, and who follows it; `synced` counts calls of `durable`."""

    def __init__(self, folder: Path) -> None:
        self.office = Office()
        self.log = folder / "usage.log"
        self.saved = folder / "nginx-usage.json"
        self.disk_is_full = False
        self.synced = 0

    async def durable(self) -> None:
        if self.disk_is_full:
            raise SpoolFailed("no space left on device")
        self.synced += 1

    def tail(self, engine: Any = None) -> Tail:
        intake = Intake(engine or self.office.engine, Channel("file"))
        return Tail(self.log, self.saved, intake, self.durable)

    def write(self, *lines: bytes) -> None:
        with self.log.open("ab") as file:
            for each in lines:
                file.write(each + b"\n")

    async def accepted(self, count: int) -> None:
        async def done() -> bool:
            return self.office.accepted == count

        await eventually_async(done, f"{count} lines are taken")

    async def saved_up_to(self, offset: int) -> None:
        async def done() -> bool:
            places = load_places(self.saved, self.log)
            return places is not None and [f.offset for f in places.files][-1:] == [offset]

        await eventually_async(done, f"{offset} is saved")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(tail_module, "POLL", 0.001)
    return Desk(tmp_path)


@contextlib.asynccontextmanager
async def running(tail: Tail) -> AsyncIterator[Tail]:
    task = asyncio.create_task(tail.run())
    try:
        yield tail
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await tail.finish()


async def test_lines_are_taken_from_a_file_that_comes_and_grows(desk: Desk) -> None:
    lines = [desk.office.allow(number) for number in range(1000)]
    async with running(desk.tail()) as tail:
        desk.write(*lines[:400])
        await desk.accepted(400)
        desk.write(*lines[400:], b"no line of ours")
        await desk.accepted(1000)
        await desk.saved_up_to(desk.log.stat().st_size)
    assert tail.counts() == [
        ("file", "taken", 1000),
        ("file", "malformed", 1),
        ("file", "dropped", 0),
    ]


async def test_a_restart_goes_on_where_it_was_and_reads_what_came_meanwhile(desk: Desk) -> None:
    lines = [desk.office.allow(number) for number in range(30)]
    desk.write(*lines[:10])
    async with running(desk.tail()):
        # Not only taken: who is stopped before that is saved reads some again.
        await desk.saved_up_to(desk.log.stat().st_size)
    desk.write(*lines[10:20])
    desk.log.rename(desk.log.with_name("usage.log.1"))
    desk.write(*lines[20:])
    async with running(desk.tail()):
        await desk.accepted(30)
    assert desk.office.stats.reports == {"accepted": 30}


async def test_a_killed_reader_reads_some_again_and_nothing_counts_twice(desk: Desk) -> None:
    lines = [desk.office.allow(number) for number in range(20)]
    desk.write(*lines)
    desk.disk_is_full = True  # So nothing is saved.
    async with running(desk.tail()):
        await desk.accepted(20)
    desk.disk_is_full = False
    async with running(desk.tail()):

        async def again() -> bool:
            return desk.office.stats.reports.get("duplicate", 0) == 20

        await eventually_async(again, "all are read again")
    assert desk.office.accepted == 20


async def test_nothing_is_saved_before_it_is_durable(desk: Desk) -> None:
    desk.disk_is_full = True
    line = desk.office.allow(1)
    desk.write(line)
    with capture_logs() as logs:
        async with running(desk.tail()):
            await desk.accepted(1)
            places = load_places(desk.saved, desk.log)
            assert places is not None
            assert places.files == []
            desk.disk_is_full = False
            await desk.saved_up_to(len(line) + 1)
    assert desk.synced
    assert sum("cannot save" in each["event"] for each in logs) <= 1


async def test_a_line_in_the_making_is_waited_for(desk: Desk) -> None:
    first, second = desk.office.allow(1), desk.office.allow(2)
    async with running(desk.tail()) as tail:
        desk.write(first)
        with desk.log.open("ab", buffering=0) as file:
            file.write(second[:50])
            await desk.accepted(1)
            await desk.saved_up_to(len(first) + 1)
            file.write(second[50:] + b"\n")
            await desk.accepted(2)
    assert ("file", "malformed", 0) in tail.counts()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_what_is_no_file_is_told_once_and_tried_again(desk: Desk, make: Any) -> None:
    make(desk.log)
    line = desk.office.allow(1)
    with capture_logs() as logs:
        async with running(desk.tail()):

            async def told() -> bool:
                return bool(logs)

            await eventually_async(told, "it is told")
            desk.log.rmdir() if desk.log.is_dir() else desk.log.unlink()
            desk.write(line)
            await desk.accepted(1)
    assert [each["event"] for each in logs] == ["the usage log cannot be read, trying again"]


async def test_a_folder_may_come_later(desk: Desk) -> None:
    desk.log = desk.log.parent / "later" / "usage.log"
    line = desk.office.allow(1)
    with capture_logs() as logs:
        async with running(desk.tail()):

            async def told() -> bool:
                return bool(logs)

            await eventually_async(told, "it is told")
            desk.log.parent.mkdir()
            desk.write(line)
            await desk.accepted(1)


async def test_places_of_another_log_are_not_taken_for_its_own(desk: Desk) -> None:
    lines = [desk.office.allow(number) for number in range(2)]
    desk.write(lines[0])
    async with running(desk.tail()):
        await desk.accepted(1)
    desk.log = desk.log.with_name("other.log")
    desk.write(lines[1])
    async with running(desk.tail()):
        await desk.accepted(2)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"path": 5}', b"\xff", b'{"version":9}'])
async def test_places_that_cannot_be_used_cost_reading_again(desk: Desk, text: bytes) -> None:
    desk.saved.write_bytes(text)
    desk.write(desk.office.allow(1))
    async with running(desk.tail()):
        await desk.accepted(1)


def test_places_that_cannot_be_read_stop_the_start(desk: Desk) -> None:
    desk.saved.mkdir()
    with pytest.raises(StartRefused, match=r"PDP_DATA_DIR: `.*nginx-usage.json`: is a directory"):
        desk.tail()


async def test_a_line_that_is_being_taken_at_the_end_comes_again(desk: Desk) -> None:
    stuck = asyncio.Event()

    class Stuck:
        async def report(self, usage: Usage) -> Any:
            stuck.set()
            await asyncio.Event().wait()

    desk.write(desk.office.allow(1))
    async with running(desk.tail(Stuck())):
        await stuck.wait()
    async with running(desk.tail()):
        await desk.accepted(1)


async def test_a_start_that_cannot_be_saved_leaves_no_file_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [desk.office.allow(number) for number in range(2)]
    desk.write(lines[0])
    async with running(desk.tail()):
        await desk.saved_up_to(desk.log.stat().st_size)
    desk.write(lines[1])
    tries = 0

    def full(file: Path, places: Places) -> None:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_places(file, places)

    monkeypatch.setattr(tail_module, "save_places", full)
    async with running(desk.tail()):
        await desk.accepted(2)
        assert sum(each.exists() and each.samefile(desk.log) for each in _opened()) == 1
    assert desk.office.stats.reports == {"accepted": 2}


def _opened() -> list[Path]:
    return list(Path("/proc/self/fd").iterdir())
