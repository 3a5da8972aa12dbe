"""Spools of workers that are no more."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from structlog.testing import capture_logs

from pdp.app.leftovers import ship_rest
from pdp.errors import Unavailable
from pdp.spool.journal import Journal
from tests.unit.spool.desk import held


class Ledger:
    """Is away at first, and then takes what it has not."""

    def __init__(self, following: int) -> None:
        self.following = following
        self.asked = 0

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        self.asked += 1
        if self.asked == 1:
            raise Unavailable("away")
        assert spool_id == "left"
        assert not records or first_sequence == self.following
        self.following += len(records)
        return self.following


def spool_of(tmp_path: Path, records: int) -> Path:
    journal = Journal(tmp_path / "spool-2")
    journal.open("left")
    for number in range(records):
        journal.append(held(number))
    journal.close()
    return journal.directory


async def test_the_rest_goes_to_the_ledger_and_the_folder_is_free_for_a_successor(
    tmp_path: Path,
) -> None:
    directory, ledger = spool_of(tmp_path, 5), Ledger(following=2)
    async with asyncio.timeout(30):
        await ship_rest(directory, ledger)
    assert ledger.following == 5
    successor = Journal(directory)
    successor.open("another")
    assert (successor.spool_id, successor.next_sequence) == ("left", 5)
    successor.close()


async def test_an_old_copy_is_left_alone(tmp_path: Path) -> None:
    directory = spool_of(tmp_path, 5)
    with capture_logs() as log:
        await ship_rest(directory, Ledger(following=6))
    assert "cannot be shipped" in log[0]["event"]
    assert "it is an old copy" in log[0]["reason"]
