"""The lag of the loop, seen and forgotten again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from pdp.serve.load import TOO_LATE, WARY, Load
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


def looks(*lags: float) -> list[bool]:
    """Return after each look whether it sheds; the looks are a second apart."""
    load, found = Load(), []
    for second, lag in enumerate(lags, 100):
        load.looked(second, lag)
        found.append(load.shedding)
    return found


LONG = TOO_LATE + 0.1


def test_one_pause_is_no_overload() -> None:
    assert looks(LONG, 0, LONG, TOO_LATE, LONG, 0) == [False] * 6


def test_after_an_overload_one_late_look_is_enough_for_a_while() -> None:
    assert looks(LONG, LONG, 0, LONG, 0) == [False, True, False, True, False]
    quiet = [0.0] * int(WARY)
    assert looks(LONG, LONG, *quiet, LONG) == [False, True, *(False for _ in quiet), False]
