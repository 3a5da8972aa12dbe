"""How soon a deleted key is denied everywhere.

    .venv/bin/python -m bench.revoke [DELETES]

Two control planes on one PostgreSQL, four data planes on one Redis, two at each, all
processes. Keys that all four have served are deleted at either control plane in turn; the
clock runs from before the DELETE until the last data plane denies. Then one data plane is
cut off (its lines stay open and carry nothing), and as many are deleted again.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc

from bench.caller import quantile
from tests.plant import Plant, reasons
from tests.postgres import running_postgres
from tests.redis import running_redis
from tests.relay import Relay

_AT_ONCE = 2
_STALENESS = 5
"""Seconds for which the one that is cut off may go on."""


class Meter:
    """Deletes keys that were served, and looks who denies them."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.channels = plant.channels()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def served(self, number: int) -> dict[str, Any]:
        """Return a key that every data plane has allowed."""
        async with self._room:
            body = {"name": "key"}
            key: dict[str, Any] = await asyncio.to_thread(
                self._plant.ask, number % 2, "POST", "", json=body
            )
            assert await reasons(self.channels, key["api_key"]) == {"ok"}
            return key

    async def delete(self, number: int, key: dict[str, Any], planes: slice) -> tuple[float, float]:
        """Delete a key; return when (s), and the seconds until all of some data planes deny it."""
        async with self._room:
            began = time.monotonic()
            await asyncio.to_thread(self._plant.ask, number % 2, "DELETE", f"/{key['id']}")
            channels = self.channels[planes]
            while await reasons(channels, key["api_key"]) != {"key_revoked"}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return began, time.monotonic() - began

    async def denied_by_last(self, api_key: str) -> tuple[float, str]:
        """Return when (s) the last data plane allows a key no more, and its reason."""
        while (found := await reasons(self.channels[-1:], api_key)) == {"ok"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return time.monotonic(), found.pop()

    async def close(self) -> None:
        """Close the lines."""
        channels: list[grpc.aio.Channel] = self.channels
        await asyncio.gather(*(channel.close(None) for channel in channels))


async def measure(plant: Plant, relay: Relay, deletes: int) -> None:
    """Print what was found."""
    meter = Meter(plant)
    keys = await asyncio.gather(*map(meter.served, range(deletes)))
    took = await asyncio.gather(
        *(meter.delete(number, key, slice(4)) for number, key in enumerate(keys))
    )
    _tell("four data planes", [seconds for _, seconds in took])

    keys = await asyncio.gather(*map(meter.served, range(deletes)))
    await relay.cut()
    cut = time.monotonic()
    last = asyncio.create_task(meter.denied_by_last(keys[-1]["api_key"]))
    took = await asyncio.gather(
        *(meter.delete(number, key, slice(3)) for number, key in enumerate(keys))
    )
    refused, reason = await last
    _tell("three, beside one that is cut off", [seconds for _, seconds in took])
    longest = max(refused - began for began, _ in took)
    print(
        f"the one that is cut off: `{reason}` {refused - cut:.2f} s after the cut "
        f"(PDP_MAX_STALENESS={_STALENESS}), at most {longest:.2f} s after a DELETE"
    )
    for key in keys:
        assert await reasons(meter.channels[-1:], key["api_key"]) == {reason}
    await meter.close()


def _tell(what: str, took: list[float]) -> None:
    found = " ".join(f"p{percent} {quantile(took, percent):.3f} s" for percent in (50, 99, 100))
    print(f"{what}, {len(took)} deletes: {found}", flush=True)


async def run(folder: Path, database_url: str, redis_url: str, deletes: int) -> None:
    """Run it all in a folder."""
    plant = Plant(folder, database_url, redis_url, data=(0, 0, 1, 1))
    relay = Relay(folder / "relay.sock", plant.controls[1].data_dir / "control.sock")
    plant.data[-1].environment["PDP_CONTROL_URL"] = f"unix:{relay.path}"
    plant.data[-1].environment["PDP_MAX_STALENESS"] = str(_STALENESS)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, plant.stop)
        await stack.enter_async_context(relay.running())
        await asyncio.to_thread(plant.start)
        await measure(plant, relay, deletes)


def main() -> None:
    deletes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with (
        running_postgres() as server,
        running_redis() as redis,
        tempfile.TemporaryDirectory(prefix="pdp-") as folder,
    ):
        asyncio.run(server.make("pdp"))
        asyncio.run(run(Path(folder), server.url("pdp"), redis.url, deletes))


if __name__ == "__main__":
    main()
