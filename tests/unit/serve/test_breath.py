"""Long work lets a Check come in between."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from adapters.envoy.service import AccessLog
from adapters.envoy.v1 import wire_pb2
from adapters.http.reference import Reference
from pdp.reporting import MOST_EXPIRED
from pdp.serve.data_plane import sweep
from pdp.serve.decision_service import DecisionService
from pdp.v1 import policy_decision_pb2 as pb
from tests.wire.harness import NOON, Desk, record
from tests.wire.test_check import request

SECOND = 1_000_000_000


async def test_a_large_report_yields() -> None:
    desk = Desk(record("leaf"))
    service = DecisionService(desk.engine, desk.stats, desk.load)
    usages = [
        pb.Usage(key_id="leaf", request_id=f"r{index}", status="success", prompt_tokens=1)
        for index in range(1000)
    ]
    report = asyncio.create_task(service.Report(pb.ReportRequest(usages=usages), None))
    await asyncio.sleep(0)
    assert 0 < len(desk.sink.records) <= 100
    assert (await report).accepted == 1000


async def test_a_large_message_of_the_access_log_yields() -> None:
    desk = Desk(record("leaf"))
    reference = Reference("", "leaf", "r", 1, 1, streaming=False)
    message = wire_pb2.StreamAccessLogsMessage()
    for index in range(100):
        named = msgspec.structs.replace(reference, request_id=f"r{index}")
        entry = message.http_logs.log_entry.add()
        found = entry.common_properties.metadata.filter_metadata["envoy.filters.http.ext_authz"]
        found.fields["ref"].string_value = msgspec.json.encode(named).decode()

    async def messages() -> AsyncIterator[wire_pb2.StreamAccessLogsMessage]:
        yield message

    taking = asyncio.create_task(AccessLog(desk.engine).stream(messages(), None))
    await asyncio.sleep(0)
    assert 0 < len(desk.sink.records) <= 10
    await taking
    assert len(desk.sink.records) == 100


async def test_holds_that_run_out_together_yield() -> None:
    desk = Desk(record("leaf"))
    service = DecisionService(desk.engine, desk.stats, desk.load)
    for _ in range(2 * MOST_EXPIRED + 1):
        await service.Check(request(), Patient())
    desk.clock.now = NOON + 601 * SECOND
    sweeping = asyncio.create_task(sweep(desk.engine))
    await asyncio.sleep(0)
    assert desk.stats.holds_expired == MOST_EXPIRED
    await sweeping
    assert desk.stats.holds_expired == 2 * MOST_EXPIRED + 1


async def test_holds_run_out_as_fast_as_they_come_when_a_turn_takes_long() -> None:
    desk = Desk(record("leaf"))
    service = DecisionService(desk.engine, desk.stats, desk.load)
    for _ in range(4 * MOST_EXPIRED):
        await service.Check(request(), Patient())
    desk.clock.now = NOON + 601 * SECOND
    clock = Turns()
    sweeping = asyncio.create_task(sweep(desk.engine, clock))
    await asyncio.sleep(0)
    assert desk.stats.holds_expired == MOST_EXPIRED
    clock.now += 12  # The first turn of others: the quarter of it is three lots of a second.
    await asyncio.sleep(0)
    assert desk.stats.holds_expired == 4 * MOST_EXPIRED
    await sweeping


class Turns:
    """A clock on which what the sweeper does between two looks takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Patient:
    """The context of a caller that waits for ever."""

    def time_remaining(self) -> None:
        return None

    def cancelled(self) -> bool:
        return False
