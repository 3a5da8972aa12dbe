"""The control plane as a process: the internal service and the admin API over the use cases."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from pdp.control.change_feed import ChangeFeed
from pdp.control.price_feed import PriceFeed
from pdp.serve.background import run_until
from pdp.serve.http import HttpServer

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes: a batch of spool records."""

_GRACE = 0.5


async def run(
    server: grpc.aio.Server,
    rest: HttpServer,
    feed: ChangeFeed,
    prices: PriceFeed,
    stop: asyncio.Event,
    ready: Callable[[], None],
    *beside: Awaitable[None],
) -> None:
    """Serve until `stop`, with loops beside it.

    Watches end at once: data planes find the next one by themselves.
    """
    await server.start()
    rest.start()
    ready()
    try:
        await run_until(stop, feed.run(), prices.run(), *beside)
    finally:
        await asyncio.gather(rest.stop(), server.stop(_GRACE))
