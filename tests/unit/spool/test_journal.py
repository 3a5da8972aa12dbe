"""The journal: whole records or none, in order, whatever happens to the disk."""

import os
from pathlib import Path

import pytest

from pdp.errors import SpoolFailed, StartRefused
from pdp.records import encode
from pdp.spool.frame import HEADER, frame_of
from pdp.spool.journal import Journal
from pdp.spool.segment import list_segments
from tests.unit.spool.desk import fill, held, last_segment, numbers, opened


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(number) for number in range(10)])
    assert journal.next_sequence == 10
    assert numbers(journal, most=3) == list(range(10))
    assert numbers(journal, start=7) == [7, 8, 9]
    assert numbers(journal) == list(range(10))
    assert journal.read(10, 5) == journal.read(99, 5) == []
    journal.close()


def test_only_what_is_synced_is_shipped(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(held(0))
    assert journal.read(0, 10) == []
    journal.sync()
    assert len(journal.read(0, 10)) == 1
    journal.close()


def test_a_spool_goes_on_where_it_ended(tmp_path: Path) -> None:
    for number in range(3):
        journal = opened(tmp_path)
        assert journal.spool_id == "spool-1"
        assert journal.next_sequence == number
        journal.append(held(number))
        journal.close()
    journal = Journal(tmp_path)
    journal.open("another id")
    assert journal.spool_id == "spool-1"
    assert numbers(journal) == [0, 1, 2]
    journal.close()


def test_segments_are_named_by_their_first_record_and_read_across(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    for number in range(20):
        journal.append(held(number))
    journal.sync()
    firsts = [segment.first for segment in list_segments(tmp_path)]
    assert len(firsts) == 4
    assert journal.closed_until() == firsts[-1]
    assert numbers(journal, most=7) == list(range(20))
    assert numbers(journal, start=11) == list(range(11, 20))
    journal.close()
    journal = opened(tmp_path, segment_bytes=1000)
    assert numbers(journal) == list(range(20))
    journal.close()


def test_a_batch_stays_about_a_megabyte_and_takes_large_records(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 24)
    fill(journal, [held(number, padding=400_000) for number in range(8)])
    assert len(journal.read(0, 1000)) < 8
    assert numbers(journal) == list(range(8))
    journal.close()


def test_segments_go_when_shipped_and_covered(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    fill(journal, [held(number) for number in range(20)])
    firsts = [segment.first for segment in list_segments(tmp_path)]
    assert journal.drop(covered=20) == 0
    journal.shipped(20)
    assert journal.drop(covered=0) == 0
    assert journal.drop(covered=firsts[2] - 1) == 1
    assert journal.drop(covered=20) == len(firsts) - 2
    assert [segment.first for segment in list_segments(tmp_path)] == [firsts[-1]]
    assert journal.read(0, 100)[0][0] == firsts[-1]
    journal.close()
    journal = opened(tmp_path)
    assert journal.next_sequence == 20
    journal.close()


# -- Damage


@pytest.mark.parametrize("cut", [1, 5, HEADER.size, HEADER.size + 1])
def test_a_torn_last_record_is_cut_off(tmp_path: Path, cut: int) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(number) for number in range(3)])
    journal.close()
    path = last_segment(tmp_path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(frame_of(encode(held(3)))[:cut])
    journal = opened(tmp_path)
    assert journal.truncated == cut
    assert path.stat().st_size == size
    assert journal.next_sequence == 3
    journal.append(held(3))
    journal.sync()
    assert numbers(journal) == [0, 1, 2, 3]
    journal.close()


def test_zeros_at_the_end_are_a_torn_write(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0)])
    journal.close()
    with last_segment(tmp_path).open("ab") as file:
        file.write(b"\0" * 3_000_000)
    journal = opened(tmp_path)
    assert (journal.truncated, journal.next_sequence) == (3_000_000, 1)
    journal.close()


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("offset", [0, 3, 5, HEADER.size + 10])
def test_damage_before_the_end_is_refused_with_its_place(tmp_path: Path, offset: int) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(number) for number in range(3)])
    journal.close()
    second = len(frame_of(encode(held(0))))
    path = last_segment(tmp_path)
    _flip(path, second + offset)
    before = path.read_bytes()
    with pytest.raises(StartRefused, match=rf"{path} is damaged at byte {second}"):
        opened(tmp_path)
    assert path.read_bytes() == before


def test_damage_far_from_the_end_is_no_torn_write(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 24)
    fill(journal, [held(0, padding=2_000_000)])
    journal.close()
    _flip(last_segment(tmp_path), 1000)
    with pytest.raises(StartRefused, match="damaged at byte 0"):
        opened(tmp_path)


def test_a_large_tail_that_was_never_synced_is_torn(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1 << 24)
    fill(journal, [held(0)])
    size = last_segment(tmp_path).stat().st_size
    for number in range(1, 4):
        journal.append(held(number, padding=1_000_000))
    journal.close()
    path = last_segment(tmp_path)
    lost = path.stat().st_size - size
    # The disk wrote the later pages first: whole records follow the damage.
    _flip(path, size + 1000)
    journal = opened(tmp_path)
    assert (journal.truncated, journal.next_sequence) == (lost, 1)
    assert numbers(journal) == [0]
    journal.close()


def test_synced_records_that_are_gone_are_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0), held(1)])
    journal.close()
    first = len(frame_of(encode(held(0))))
    os.truncate(last_segment(tmp_path), first)
    with pytest.raises(StartRefused, match=f"is damaged at byte {first}"):
        opened(tmp_path)


def test_without_a_mark_nothing_is_cut_off(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0), held(1)])
    journal.close()
    mark = tmp_path / "synced"
    mark.unlink()
    opened(tmp_path).close()
    assert int(mark.read_text()) == 2
    mark.unlink()
    _flip(last_segment(tmp_path), 20)
    with pytest.raises(StartRefused, match="is damaged at byte 0"):
        opened(tmp_path)
    mark.write_text("two")
    with pytest.raises(StartRefused, match=f"{mark} is damaged"):
        opened(tmp_path)


def test_what_a_killed_process_did_not_sync_is_synced_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    fill(journal, [held(number) for number in range(8)])
    done = list_segments(tmp_path)[:-1]
    for number in range(8, 20):
        journal.append(held(number))
    journal.close()
    segments = list_segments(tmp_path)
    synced: list[Path] = []
    real = os.fsync

    def noted(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        real(fd)

    monkeypatch.setattr("pdp.spool.folder.os.fsync", noted)
    opened(tmp_path).close()
    assert {each.path for each in segments[len(done) :]} | {tmp_path} <= set(synced)
    assert not {each.path for each in done} & set(synced)
    synced.clear()
    opened(tmp_path).close()
    assert {path for path in synced if path.suffix == ".seg"} == {segments[-1].path}


def test_a_closed_segment_may_not_be_torn_or_missing(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    fill(journal, [held(number) for number in range(20)])
    journal.close()
    second = list_segments(tmp_path)[1]
    whole = second.path.read_bytes()
    second.path.write_bytes(whole[:-1])
    with pytest.raises(StartRefused, match="damaged"):
        opened(tmp_path)
    second.path.unlink()
    with pytest.raises(StartRefused, match=f"does not follow record {second.first - 1}"):
        opened(tmp_path)
    second.path.write_bytes(whole)
    opened(tmp_path).close()


def test_a_record_damaged_while_running_is_reported(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0), held(1)])
    _flip(last_segment(tmp_path), HEADER.size)
    with pytest.raises(SpoolFailed, match="record 0 of the spool is damaged"):
        journal.read(0, 10)
    last_segment(tmp_path).unlink()
    fresh = Journal(tmp_path)
    fresh._synced = 1
    (tmp_path / "00000000000000000000.seg").mkdir()
    with pytest.raises(SpoolFailed, match="cannot read the spool"):
        fresh.read(0, 10)
    journal.close()


# -- A full disk


def test_two_processes_never_write_one_spool(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(StartRefused, match=f"{tmp_path} is in use by another process"):
        Journal(tmp_path).open("x", wait=0.1)
    journal.close()
    opened(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match=f"cannot use the spool {tmp_path}/file/spool"):
        Journal(tmp_path / "file" / "spool").open("x")


def test_records_without_their_spool_id_are_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0)])
    journal.close()
    (tmp_path / "spool_id").unlink()
    with pytest.raises(StartRefused, match="spool_id is missing"):
        opened(tmp_path)
