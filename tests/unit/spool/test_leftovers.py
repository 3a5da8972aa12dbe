"""Spools of workers that are no more."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from structlog.testing import capture_logs

from pdp.app.leftovers import ship_rest
from pdp.app.redis import count_rest
from pdp.counters.redis.layout import ROOTS
from pdp.data.control import ControlClient
from pdp.errors import Unavailable
from pdp.hidden import Hidden
from pdp.records import Overruled, decode
from pdp.settings import Settings
from pdp.spool.journal import Journal
from tests.counting import Plane
from tests.redis import RedisServer
from tests.unit.spool.desk import held, settled


class Ledger:
    """Is away at first, and then takes what it has not."""

    def __init__(self, following: int) -> None:
        self.following = following
        self.asked = 0
        self.taken: list[bytes] = []

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        self.asked += 1
        if self.asked == 1:
            raise Unavailable("away")
        assert spool_id == "left"
        assert not records or first_sequence == self.following
        self.following += len(records)
        self.taken += records
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


async def test_what_redis_has_not_counted_of_it_is_counted_once(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.flush()
    plane = Plane(redis.local_url)
    await plane.roots.join(plane.roots.lane("root"))
    await plane.line.count_planes("left", 1, 10)
    settings = Settings(data_dir=tmp_path, redis_url=Hidden(redis.local_url))
    directory, control = spool_of(tmp_path, 5), ControlClient("unix:/nowhere", "")
    for _ in range(2):
        async with asyncio.timeout(60):
            await ship_rest(directory, Ledger(following=5), partial(count_rest, settings, control))
        with redis.client() as client:
            total = client.hgetall("pdp:{root}:t:root")
        assert (total[b"h"], total[b"r"]) == (b"500", b"5")
    assert await plane.line.spools("pdp:{root}:") == {"left": 5}
    assert "left" not in await plane.line.planes()
    await control.close()
    await plane.close()


async def test_it_is_counted_also_while_redis_is_being_filled_anew(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.flush()
    plane = Plane(redis.local_url)
    await plane.roots.join(plane.roots.lane("root"))
    with redis.client() as client:
        client.delete(ROOTS)  # It is added when all is there.
    settings = Settings(data_dir=tmp_path, redis_url=Hidden(redis.local_url))
    directory, control = spool_of(tmp_path, 5), ControlClient("unix:/nowhere", "")
    async with asyncio.timeout(60):
        await ship_rest(directory, Ledger(following=5), partial(count_rest, settings, control))
    with redis.client() as client:
        assert client.hget("pdp:{root}:t:root", "h") == b"500"
    await control.close()
    await plane.close()


async def test_the_ledger_hears_that_another_report_was_counted_before_one_that_is_left(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.flush()
    hold = held(0)
    plane = Plane(redis.local_url)
    plane.spool += [hold, settled(hold, cost=70)]
    await plane.roots.join(plane.roots.lane("root"))
    directory = spool_of(tmp_path, 1)
    journal = Journal(directory)
    journal.open("")
    journal.append(settled(hold, cost=40))
    journal.close()
    settings = Settings(data_dir=tmp_path, redis_url=Hidden(redis.local_url))
    control, ledger = ControlClient("unix:/nowhere", ""), Ledger(following=0)
    async with asyncio.timeout(60):
        await ship_rest(directory, ledger, partial(count_rest, settings, control))
    assert ledger.following == 3
    assert isinstance(last := decode(ledger.taken[-1]), Overruled)
    assert last.outcome.cost == 70
    with redis.client() as client:
        assert client.hget("pdp:{root}:t:root", "s") == b"70"
    await control.close()
    await plane.close()


async def test_an_old_copy_is_left_alone(tmp_path: Path) -> None:
    directory = spool_of(tmp_path, 5)
    with capture_logs() as log:
        await ship_rest(directory, Ledger(following=6))
    assert "cannot be shipped" in log[0]["event"]
    assert "it is an old copy" in log[0]["reason"]
