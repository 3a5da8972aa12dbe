"""The journal on a disk that is full, or fails, and where there are no more files to open."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pdp.errors import SpoolFailed, StartRefused
from pdp.spool.journal import Journal
from pdp.spool.segment import list_segments
from tests.unit.spool.desk import fill, held, last_segment, numbers, opened


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Bound the size of files, for real; lifted at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def bound(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield bound
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_writes_nothing_and_room_again_goes_on(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0)])
    size = last_segment(tmp_path).stat().st_size
    # The next record is written in part, the one after not at all.
    small_files(size + 20)
    for _ in range(3):
        with pytest.raises(SpoolFailed, match="cannot write the spool"):
            journal.append(held(1))
        assert journal.next_sequence == 1
    assert last_segment(tmp_path).stat().st_size == size
    small_files(resource.RLIM_INFINITY)
    fill(journal, [held(1)])
    assert numbers(journal) == [0, 1]
    journal.close()
    journal = opened(tmp_path)
    assert (journal.truncated, journal.next_sequence) == (0, 2)
    journal.close()


def test_a_partial_write_that_cannot_be_cut_back_at_once_is_cut_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_files: Callable[[int], None]
) -> None:
    journal = opened(tmp_path, segment_bytes=10)
    fill(journal, [held(0)])
    journal.append(held(1))
    real = os.ftruncate

    def broken(_fd: int, _size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pdp.spool.journal.os.ftruncate", broken)
    small_files(last_segment(tmp_path).stat().st_size + 20)
    journal._segment_bytes = 1 << 20
    with pytest.raises(SpoolFailed):
        journal.append(held(2))
    small_files(resource.RLIM_INFINITY)
    journal._segment_bytes = 10
    with pytest.raises(SpoolFailed, match="Input/output"):
        journal.append(held(2))
    monkeypatch.setattr("pdp.spool.journal.os.ftruncate", real)
    journal.append(held(2))
    fill(journal, [held(3)])
    assert numbers(journal) == [0, 1, 2, 3]
    journal.close()


def test_where_no_new_segment_can_be_made_the_old_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, segment_bytes=10)
    journal.append(held(0))
    (tmp_path / "00000000000000000001.seg").touch()
    journal.append(held(1))
    journal.sync()
    assert journal.closed_until() == 0
    journal.close()


def test_a_failing_sync_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    journal.append(held(0))

    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pdp.spool.journal.os.fsync", broken)
    with pytest.raises(SpoolFailed, match="cannot sync"):
        journal.sync()
    assert journal.read(0, 10) == []
    monkeypatch.undo()
    journal.sync()
    assert len(journal.read(0, 10)) == 1
    journal.close()


def test_what_a_failed_sync_may_have_lost_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    fill(journal, [held(0)])

    def broken(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pdp.spool.journal.os.fsync", broken)
    for number in range(1, 6):
        journal.append(held(number))
    with pytest.raises(SpoolFailed):
        journal.sync()
    monkeypatch.undo()
    journal.append(held(6))
    before = {each.path: each.path.read_bytes() for each in list_segments(tmp_path)}
    assert len(before) > 1
    written: dict[Path, bytes] = {}
    real = os.pwrite

    def noted(fd: int, data: bytes, offset: int) -> int:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path in before:
            assert offset == len(written.get(path, b""))
            written[path] = written.get(path, b"") + data
        return real(fd, data, offset)

    monkeypatch.setattr("pdp.spool.rewrite.os.pwrite", noted)
    journal.sync()
    assert written == before
    assert {each.path: each.path.read_bytes() for each in list_segments(tmp_path)} == before
    written.clear()
    journal.append(held(7))
    journal.sync()
    assert not written
    assert numbers(journal) == list(range(8))
    journal.close()


def test_a_drop_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, segment_bytes=10)
    fill(journal, [held(0), held(1)])
    journal.shipped(2)

    def broken(_path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", broken)
    with pytest.raises(SpoolFailed, match="cannot drop"):
        journal.drop(covered=2)
    journal.close()


@pytest.fixture
def no_more_files() -> Iterator[Callable[[], None]]:
    """Let this process open no more files, for real; lifted at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened_here: list[int] = []

    def use_up() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with suppress(OSError):
            while True:
                opened_here.append(os.open(os.devnull, os.O_RDONLY))

    yield use_up
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for descriptor in opened_here:
        os.close(descriptor)


def test_a_folder_that_cannot_be_opened_is_no_defect(
    tmp_path: Path, no_more_files: Callable[[], None]
) -> None:
    journal = opened(tmp_path, segment_bytes=10)
    fill(journal, [held(0), held(1)])
    journal.shipped(2)
    no_more_files()
    with pytest.raises(SpoolFailed, match="cannot drop a segment: Too many open files"):
        journal.drop(covered=2)
    with pytest.raises(SpoolFailed, match="cannot read the spool: Too many open files"):
        journal.read(0, 10)
    journal.close()


# -- Start


def test_no_room_at_start_is_refused_in_one_line(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    small_files(1000)
    with pytest.raises(StartRefused, match="cannot use the spool"):
        Journal(tmp_path).open("x")
    small_files(resource.RLIM_INFINITY)
    opened(tmp_path).close()
