"""What is told of a spool, beside whoever writes it."""

from pathlib import Path

import msgspec
import pytest

from pdp.errors import NotFound, SpoolFailed, StartRefused
from pdp.spool.checkpoint import Checkpoint, save
from pdp.spool.segment import list_segments
from pdp.spool.status import SpoolFiles, look, pairing_of, time_of
from tests.unit.spool.desk import NOON, fill, held, opened


def test_a_spool_in_use_is_read_beside_its_owner(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=1000)
    fill(journal, [held(number) for number in range(20)])
    journal.append(held(20))
    found = look(tmp_path)
    assert (found.spool_id, found.first, found.end, found.synced) == ("spool-1", 0, 21, 20)
    assert (found.segments, found.bytes) == (len(list_segments(tmp_path)), journal.size)
    assert (found.checkpoint, found.checkpoint_at, found.in_use) == (None, None, True)
    assert [time_of(found, number) for number in (0, 7, 20, 21)] == [
        *(NOON + number for number in (0, 7, 20)),
        None,
    ]
    journal.shipped(21)
    journal.drop(covered=21)
    save(tmp_path, Checkpoint("spool-1", 18, b""))
    journal.append(held(21))
    journal.close()
    found = look(tmp_path)
    assert (found.first, found.end, found.checkpoint) == (journal.closed_until(), 22, 18)
    assert found.checkpoint_at == (tmp_path / "checkpoint").stat().st_mtime_ns
    assert not found.in_use
    assert time_of(found, 0) == NOON + found.first
    opened(tmp_path).close()


def test_where_there_is_none_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"there is no spool `{tmp_path}/x`: run `pdp serve` first"):
        look(tmp_path / "x")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    fill(journal, [held(0)])
    journal.close()
    (tmp_path / "synced").write_text("two")
    with pytest.raises(SpoolFailed, match="cannot read the spool"):
        look(tmp_path)
    (tmp_path / "synced").unlink()
    assert look(tmp_path).synced is None
    (tmp_path / "checkpoint").write_bytes(b"junk")
    with pytest.raises(StartRefused, match="checkpoint is damaged"):
        look(tmp_path)


@pytest.mark.parametrize(
    ("ledger", "pairing"),
    [(9, "other ledger"), (10, "paired"), (20, "paired"), (21, "old copy")],
)
def test_spool_and_ledger_belong_together_or_not(ledger: int, pairing: str) -> None:
    files = SpoolFiles(Path("x"), "s", 10, 20, 1, 100, 20, None, None, in_use=False)
    assert pairing_of(files, ledger) == pairing
    fresh = msgspec.structs.replace(files, first=0)
    assert pairing_of(fresh, 0) == "new"
