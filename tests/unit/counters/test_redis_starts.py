"""Starts of data planes while Redis is away, or may be."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pdp.app.redis import reached_of
from pdp.errors import StartRefused
from pdp.hidden import Hidden
from pdp.quota.hold import Admitted
from pdp.settings import Settings
from tests.contract.world import SECOND
from tests.counting import Fleet, Plane


def texts_of(folder: Path) -> list[str]:
    """Return what is in its files."""
    return [path.read_text("utf-8") for path in folder.iterdir()]


def cut_off(fleet: Fleet) -> Plane:
    """Return a data plane whose Redis is away."""
    plane = Plane("redis://127.0.0.1:1")
    fleet.planes.append(plane)
    return plane


async def test_an_address_that_nobody_has_reached_is_refused(fleet: Fleet) -> None:
    reached: list[int] = []
    with pytest.raises(StartRefused, match=r"^PDP_REDIS_URL: .*redis://127.0.0.1:1"):
        await fleet.tender(cut_off(fleet), reached.append).start(0, 0)
    assert not reached


async def test_where_four_have_counted_one_of_them_takes_a_fourth_of_a_rate(fleet: Fleet) -> None:
    plane = cut_off(fleet)
    await fleet.tender(plane).start(0, 4)
    assert plane.stats.is_partitioned
    w = fleet.world(plane, leaf={"rate_limits": {"per_minute": 100}})
    verdicts = [await w.check() for _ in range(50)]
    assert sum(isinstance(each, Admitted) for each in verdicts) == 25


async def test_a_redis_that_was_reached_once_is_known_to_all_workers_of_a_data_dir(
    fleet: Fleet, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, redis_url=Hidden(f"{fleet.server.url}/3"))
    reached = reached_of(settings)
    assert reached.by() == 0
    await fleet.plane("spool2").line.count_planes("spool2", fleet.now // SECOND, 10)
    plane = fleet.plane()
    tender = fleet.tender(plane, reached.note)
    await tender.start(0, 0)
    await tender.tend()
    assert reached_of(settings).by() == 2
    secret = fleet.server.url.replace("redis://", "redis://user:secret@")
    assert reached_of(replace(settings, redis_url=Hidden(f"{secret}/3"))).by() == 2, "the same"
    other = replace(settings, redis_url=Hidden(f"{fleet.server.url}/4"))
    assert reached_of(other).by() == 0, "another place may be a wrong one"
    assert all("secret" not in text for text in texts_of(tmp_path))
    fleet.now += 11 * SECOND
    plane.ticks += 11 * SECOND
    await tender.tend()
    assert reached.by() == 1
