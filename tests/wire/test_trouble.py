"""When a call goes wrong: callers that leave, defects, stalls. On both transports."""

import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from pdp.counters.memory import MemoryCounters
from pdp.quota.hold import Reserve, Settlement
from pdp.serve.transport import Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.stack import eventually_async
from tests.wire.harness import Desk, record, serving
from tests.wire.test_check import request

SECRET = "what the request said"


class Stalling(MemoryCounters):
    """Counters that hold the event loop up, as a pause of the machine would."""

    def reserve(self, op: Reserve) -> Any:
        time.sleep(0.6)
        return super().reserve(op)


class Broken(MemoryCounters):
    """Counters with a defect."""

    def reserve(self, op: Reserve) -> Any:
        raise RuntimeError(SECRET)

    def settle(self, op: Settlement) -> bool:
        raise RuntimeError(SECRET)


async def test_a_caller_that_gave_up_holds_nothing(transport: Transport, tmp_path: Path) -> None:
    counters = Stalling()
    desk = Desk(record("leaf", budget_limits={"total": 1.0}), counters=counters)
    async with serving(desk, transport, tmp_path) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request(), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        names = [type(each).__name__ for each in desk.sink.records]
        assert names in (["Held", "Settled"], [])

        async def is_free() -> bool:
            look = await stub.Check(request(dry_run=True))
            return (look.limits[0].held, look.limits[0].spent) == (0, 0)

        await eventually_async(is_free, "nothing is held")


async def test_a_defect_is_a_denial_that_gives_nothing_away(
    transport: Transport, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(record("leaf"), counters=Broken())
    async with serving(desk, transport, tmp_path) as stub:
        answer = await stub.Check(request(request_id="r1"))
    assert (answer.reason, answer.http_status) == ("unavailable", 503)
    assert answer.response_headers == {"x-request-id": "r1", "retry-after": "1"}
    assert SECRET not in str(answer) + caplog.text
    assert desk.stats.checks == {("deny", "unavailable", "grpc"): 1}


async def test_a_usage_that_meets_a_defect_fails_alone(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf"), counters=Broken())
    usages = [
        pb.Usage(key_id="leaf", request_id="r1", status="success", prompt_tokens=1),
        pb.Usage(request_id="", status="success"),
    ]
    async with serving(desk, transport, tmp_path) as stub:
        answer = await stub.Report(pb.ReportRequest(usages=usages))
    assert [error.code for error in answer.errors] == ["unavailable", "invalid_argument"]
    assert SECRET not in str(answer)
