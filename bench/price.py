"""How soon a new price is in force everywhere.

    .venv/bin/python -m bench.price [--prices 100]

Two control planes on one PostgreSQL, two data planes at one and one at the other, all
processes. Prices are set at either control plane in turn, of models that had none; the clock
runs from before the POST until the last data plane admits the model under a budget.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench.caller import quantile
from tests.plant import Plant, reasons
from tests.postgres import running_postgres
from tests.redis import running_redis


async def priced(plant: Plant, prices: int) -> list[float]:
    """Return how many seconds each price took to be in force everywhere."""
    channels = plant.channels()
    budget = {"name": "key", "budget_limits": {"total": 1.0}}
    key = (await asyncio.to_thread(plant.ask, 0, "POST", "", json=budget))["api_key"]
    found = []
    for number in range(prices):
        asked = {"model": f"none-{number}", "provider": "openai"}
        assert await reasons(channels, key, **asked) == {"price_unknown"}
        body = {**asked, "prompt": "1", "completion": "1"}
        began = time.monotonic()
        await asyncio.to_thread(plant.ask, number % 2, "POST", "", "prices", json=body)
        while await reasons(channels, key, **asked) != {"ok"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        found.append(time.monotonic() - began)
    for channel in channels:
        await channel.close(None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prices", type=int, default=100)
    chosen = parser.parse_args()
    with (
        running_postgres() as server,
        running_redis() as redis,
        tempfile.TemporaryDirectory(prefix="pdp-") as folder,
    ):
        asyncio.run(server.make("pdp"))
        plant = Plant(Path(folder), server.url("pdp"), redis.url)
        try:
            plant.start()
            took = asyncio.run(priced(plant, chosen.prices))
        finally:
            plant.stop()
    for percent in (50, 99, 100):
        print(f"p{percent:<4} {quantile(took, percent):.3f} s")


if __name__ == "__main__":
    main()
