"""The ops port under connections that say nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from pdp.serve.connections import bounded_protocol
from pdp.serve.http import HttpServer
from pdp.serve.ops import ops_app, registry_of
from tests.stack import eventually_async


async def nothing() -> CollectorRegistry:
    return registry_of([])


@asynccontextmanager
async def serving(most: int, head_deadline: float) -> AsyncIterator[int]:
    """Serve the ops port with bounds; give the port."""
    server = HttpServer(ops_app(nothing, lambda: ""), "127.0.0.1:0", "PDP_OPS_LISTEN")
    server._server.config.http = bounded_protocol(most, head_deadline)
    server.start()
    try:
        yield int(server.address.rpartition(":")[2])
    finally:
        await server.stop()


async def livez(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_idle_connections_are_bounded_and_take_nobody_his_place() -> None:
    async with serving(most=5, head_deadline=3600) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]

        async def most_are_gone() -> bool:
            return sum(reader.at_eof() for reader, _ in idle) >= 45

        await eventually_async(most_are_gone, "those that waited longest are gone")
        assert (await livez(port)).endswith(b"ok\n")
        for _, writer in idle:
            writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serving(most=5, head_deadline=0.05) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
