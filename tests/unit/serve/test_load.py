"""The lag of the loop, seen and forgotten again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from pdp.serve.load import INTERVAL, TOO_LATE, Load
from tests.stack import eventually_async


@pytest.fixture
async def load() -> AsyncIterator[Load]:
    made = Load()
    watching = asyncio.create_task(made.watch())
    await asyncio.sleep(0)
    yield made
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def pause() -> None:
    """Let the loop stand still for too long, and then take its next look."""
    asyncio.get_running_loop().call_soon(time.sleep, TOO_LATE + 0.1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_loop_that_goes_on_lagging_sheds_and_recovers_at_once(load: Load) -> None:
    async def is_shedding() -> bool:
        await pause()
        return load.shedding

    async def is_well() -> bool:
        return not load.shedding

    await eventually_async(is_shedding, "the lag is seen")
    await eventually_async(is_well, "it is well again")
    await pause()
    await eventually_async(is_shedding, "and once is enough soon after")


async def test_one_pause_is_no_overload(load: Load) -> None:
    await pause()
    for _ in range(10):
        assert not load.shedding
        await asyncio.sleep(INTERVAL / 2)
