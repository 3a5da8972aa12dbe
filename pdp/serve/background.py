"""Loops beside the Check path. One that fails takes the process down, visibly."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from pdp.errors import Unavailable

_log = structlog.get_logger(__name__)


async def every(seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` again and again; being `Unavailable` is logged, anything else is a defect."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Unavailable as error:
            _log.warning("background work failed, trying again", error=str(error))


async def run_until(stop: asyncio.Event, *loops: Awaitable[None]) -> None:
    """Run loops until `stop` is set, then cancel them.

    Raises what a loop raised: no loop ends by itself, so that is a defect, and
    the supervisor restarts the process rather than let it limp.
    """
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
