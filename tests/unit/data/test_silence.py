"""A line between the planes that falls silent: both ends notice, and meet again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pdp.data.control import ControlClient
from pdp.errors import Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.internal.v1 import control_pb2_grpc as pb_grpc
from pdp.keepalive import keepalive_options
from pdp.serve.transport import make_server
from tests.relay import Relay

SILENCE = 0.3


class Control(pb_grpc.ControlServiceServicer):
    """Knows no key, and who watches."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def WatchChanges(self, _request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        context.add_done_callback(lambda _: self.left.set())
        yield pb.WatchChangesResponse(revision=1)
        await asyncio.Event().wait()

    async def ResolveKey(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return pb.ResolveKeyResponse(revision=1)


async def test_both_ends_notice_silence_and_meet_on_a_new_line(tmp_path: Path) -> None:
    control = Control()
    server = make_server("grpcio", more=keepalive_options(SILENCE))
    server.add_insecure_port(f"unix:{tmp_path}/control.sock")
    pb_grpc.add_ControlServiceServicer_to_server(control, server)
    await server.start()
    async with Relay(tmp_path / "relay.sock", tmp_path / "control.sock").running() as relay:
        client = ControlClient(f"unix:{relay.path}", "fingerprint", keepalive=SILENCE)
        watching = client.watch(0, "spool")
        assert (await anext(watching)).revision == 1
        await relay.silence()
        async with asyncio.timeout(30):
            await control.left.wait()
            try:
                await anext(watching)
            except Unavailable:
                pass
            else:
                raise AssertionError("the line was dead")
            while True:
                try:
                    assert await client.by_id("key") == (1, None)
                    break
                except Unavailable:  # It is on its way.
                    continue
        await client.close()
    await server.stop(None)
