"""Two data planes with one spool, over the line to the control plane: one is a copy."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pdp.control.attendance import Attendance
from pdp.control.change_feed import ChangeFeed
from pdp.control.price_feed import PriceFeed
from pdp.data.control import ControlClient
from pdp.data.shipper import Shipper
from pdp.errors import StartRefused
from pdp.internal.v1 import control_pb2_grpc
from pdp.serve.control_service import ControlService
from pdp.serve.transport import bind, make_server
from tests.unit.control.desk import Desk


class Spool:
    """A spool of which nothing has been shipped, as its copy is."""

    spool_id = "spool1"
    next_sequence = 0

    def read(self, from_sequence: int, max_records: int) -> Sequence[tuple[int, bytes]]:
        return []

    def shipped(self, next_sequence: int) -> None:
        return


@asynccontextmanager
async def lines(
    desk: Desk, tmp_path: Path
) -> AsyncIterator[tuple[Attendance, ControlClient, ControlClient]]:
    """Give a control plane's attendance, and the lines of two processes to it."""
    prices = PriceFeed((), lambda: datetime(2026, 11, 24, tzinfo=UTC))
    server = make_server("grpcio")
    address = bind(server, f"unix:{tmp_path}/control.sock", "PDP_CONTROL_LISTEN")
    attendance = Attendance(patience=0)
    service = ControlService(desk.database, ChangeFeed(desk.database), prices, "pepper", attendance)
    control_pb2_grpc.add_ControlServiceServicer_to_server(service, server)
    await server.start()
    first, second = (
        ControlClient(address, "pepper", counters="redis", life=life) for life in ("one", "two")
    )
    try:
        await prices.refresh()
        yield attendance, first, second
    finally:
        await first.close()
        await second.close()
        await server.stop(None)


async def test_a_copy_is_given_no_place_while_the_other_is_here(desk: Desk, tmp_path: Path) -> None:
    async with lines(desk, tmp_path) as (_, first, second):
        await Shipper(Spool(), first).ship()
        async with aclosing(first.watch(0, "spool1")) as changes:  # type: ignore[type-var]
            await anext(changes)
            await first.ingest("spool1", 0, ())
            copy = Shipper(Spool(), second)
            with pytest.raises(StartRefused, match=r"PDP_DATA_DIR: .*`spool1`.*copy"):
                await copy.ship()
            with pytest.raises(StartRefused, match="PDP_DATA_DIR"):
                await anext(second.watch(0, "spool1"))
        assert not copy.placed.is_set()


async def test_who_counts_in_another_redis_is_told_and_nobody_else(
    desk: Desk, tmp_path: Path
) -> None:
    async with lines(desk, tmp_path) as (attendance, first, second):
        attendance.apart = frozenset({"spool2"})
        for client, name, is_apart in ((first, "spool1", False), (second, "spool2", True)):
            async with aclosing(client.watch(0, name)) as changes:  # type: ignore[type-var]
                assert (await anext(changes)).counts_apart is is_apart
