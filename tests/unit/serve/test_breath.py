"""Long work lets a Check come in between."""

import asyncio

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


class Patient:
    """The context of a caller that waits for ever."""

    def time_remaining(self) -> None:
        return None

    def cancelled(self) -> bool:
        return False
