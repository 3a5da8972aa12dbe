"""The lag of the loop, seen and forgotten again."""

import asyncio
import time

from pdp.serve.load import TOO_LATE, Load
from tests.stack import eventually_async


async def test_a_loop_that_lags_sheds_and_recovers_at_once() -> None:
    load = Load()
    watching = asyncio.create_task(load.watch())
    await asyncio.sleep(0)

    async def is_shedding() -> bool:
        asyncio.get_running_loop().call_soon(time.sleep, TOO_LATE + 0.1)
        return load.shedding

    async def is_well() -> bool:
        return not load.shedding

    await eventually_async(is_shedding, "the lag is seen")
    await eventually_async(is_well, "it is well again")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
