"""How soon a deleted key is denied everywhere.

    .venv/bin/python -m bench.revoke [DELETES]

Two control planes on one PostgreSQL, two data planes at one and one at the other, all
processes. Keys that all three have served are deleted at either control plane in turn; the
clock runs from before the DELETE until the last data plane denies.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.caller import quantile
from tests.plant import Plant, reasons
from tests.postgres import running_postgres
from tests.redis import running_redis

_AT_ONCE = 2


async def measured(plant: Plant, deletes: int) -> list[float]:
    """Return how many seconds each DELETE took to arrive everywhere."""
    channels, room = plant.channels(), asyncio.Semaphore(_AT_ONCE)

    async def delete(number: int) -> float:
        async with room:
            at = number % 2
            key = await asyncio.to_thread(plant.ask, at, "POST", "", json={"name": "key"})
            assert await reasons(channels, key["api_key"]) == {"ok"}
            began = time.monotonic()
            await asyncio.to_thread(plant.ask, at, "DELETE", f"/{key['id']}")
            while await reasons(channels, key["api_key"]) != {"key_revoked"}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return time.monotonic() - began

    found = await asyncio.gather(*map(delete, range(deletes)))
    for channel in channels:
        await channel.close(None)
    return found


def main() -> None:
    deletes = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with (
        running_postgres() as server,
        running_redis() as redis,
        tempfile.TemporaryDirectory(prefix="pdp-") as folder,
    ):
        asyncio.run(server.make("pdp"))
        plant = Plant(Path(folder), server.url("pdp"), redis.url)
        try:
            plant.start()
            took = asyncio.run(measured(plant, deletes))
        finally:
            plant.stop()
    for percent in (50, 99, 100):
        print(f"p{percent:<4} {quantile(took, percent):.3f} s")


if __name__ == "__main__":
    main()
