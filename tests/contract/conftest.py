"""Every backend of the `Counters` port; a new one is added here and nowhere else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pdp.counters.memory import MemoryCounters
from pdp.counters.seen import SqliteSeen
from pdp.ids import IdSource
from tests.contract.world import World

MakeWorld = Callable[..., World]


@pytest.fixture(params=["memory", "memory+file"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeWorld]:
    """Make worlds over a fresh backend."""
    if request.param == "memory":
        counters = MemoryCounters()
    else:
        counters = MemoryCounters(SqliteSeen(tmp_path / "seen.db"))

    ids = IdSource("boot")

    def make(**fields: Any) -> World:
        return World(counters, ids, **fields)

    yield make
    counters.seen.close()
