"""NO-OVERSPEND under fire, small; `make storm` is the same with 10^5 checks of four data planes."""

from pathlib import Path

from tests.e2e.storm import PEPPER, Storm, plane_beside
from tests.redis import running_redis
from tests.stack import Stack


async def test_nothing_is_overspent_and_every_nano_dollar_accounted_for(tmp_path: Path) -> None:
    with running_redis("--appendonly", "yes", "--appendfsync", "always") as server:
        settings = {
            "PDP_REDIS_URL": server.url,
            "PDP_REDIS_DEADLINE": "0.5",
            "PDP_HOLD_TTL": "2",
            "PDP_KEY_PEPPER": PEPPER,
        }
        first = Stack(tmp_path, **settings)
        first.init()
        second = plane_beside(first, tmp_path / "second", **settings)
        try:
            first.start()
            second.start()
            storm = Storm([first, second], server, seed=1)
            storm.plant(600)
            await storm.run(600, kills=3)
            await storm.settle()
            storm.verify()
            assert storm.outcomes["ok"]
            assert storm.outcomes["budget_exceeded"]
        finally:
            second.stop()
            first.stop()
