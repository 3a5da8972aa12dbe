"""A line between the planes that falls silent: both ends notice, and meet again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pdp.data.control import Change, ControlClient
from pdp.errors import Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.internal.v1 import control_pb2_grpc as pb_grpc
from pdp.keepalive import keepalive_options
from pdp.serve.transport import make_server
from tests.relay import Relay

SILENCE = 1.0


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


@asynccontextmanager
async def controlled(tmp_path: Path, control: Control) -> AsyncIterator[Path]:
    """Serve `control` on a unix socket."""
    server = make_server("grpcio", more=keepalive_options(SILENCE))
    server.add_insecure_port(f"unix:{tmp_path}/control.sock")
    pb_grpc.add_ControlServiceServicer_to_server(control, server)
    await server.start()
    try:
        yield tmp_path / "control.sock"
    finally:
        await server.stop(None)


async def meet(client: ControlClient) -> tuple[AsyncIterator[Change], Change]:
    """Watch, again and again, until the first message comes."""
    while True:
        watching = client.watch(0, "spool")
        try:
            return watching, await anext(watching)
        except Unavailable:  # It is on its way.
            continue


async def test_both_ends_notice_silence_and_meet_on_a_new_line(tmp_path: Path) -> None:
    control = Control()
    async with (
        asyncio.timeout(30),
        controlled(tmp_path, control) as path,
        Relay(tmp_path / "relay.sock", path).running() as relay,
    ):
        client = ControlClient(f"unix:{relay.path}", "fingerprint", keepalive=SILENCE)
        watching, change = await meet(client)
        assert change.revision == 1
        control.left.clear()
        await relay.silence()
        await control.left.wait()
        with pytest.raises(Unavailable):
            await anext(watching)
        _, change = await meet(client)
        assert change.revision == 1
        assert await client.by_id("key") == (1, None)
        await client.close()


async def test_a_line_may_take_a_second_to_come_about(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(30),
        controlled(tmp_path, Control()) as path,
        Relay(tmp_path / "relay.sock", path, late=1.0).running() as relay,
    ):
        client = ControlClient(f"unix:{relay.path}", "fingerprint")
        _, change = await meet(client)
        assert change.revision == 1
        await client.close()
