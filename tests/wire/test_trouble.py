"""When a call goes wrong: callers that leave, defects, stalls. On both transports."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import grpc
import pytest

from pdp.counters.memory import MemoryCounters
from pdp.key import CompiledKey
from pdp.model import KeyRecord
from pdp.quota.hold import Reserve, Settlement
from pdp.records import Held, Settled
from pdp.serve.transport import MAX_MESSAGE, Transport
from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.stack import eventually_async
from tests.wire.harness import Desk, Keys, record, serving
from tests.wire.test_check import request

SECRET = "what the request said"


class Stalling(MemoryCounters):
    """Counters that hold the event loop up once, as a pause of the machine would."""

    stall: Callable[[], object] | None = None
    """What takes so long."""

    def reserve(self, op: Reserve) -> Any:
        if self.stall is not None:
            stall, self.stall = self.stall, None
            stall()
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
    counters.stall = partial(time.sleep, 0.5)
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


async def test_a_pause_holds_nothing_for_callers_that_left(
    transport: Transport, tmp_path: Path
) -> None:
    counters = Stalling()
    desk = Desk(record("leaf", budget_limits={"total": 1.0}), counters=counters)
    async with serving(desk, transport, tmp_path) as stub:
        assert (await stub.Check(request())).reason == "ok"
        everybody = Barrier(21)
        with ThreadPoolExecutor(20) as pool:
            leaving = [pool.submit(impatient_call, tmp_path, everybody) for _ in range(20)]
            counters.stall = partial(outlast, leaving)
            await asyncio.to_thread(everybody.wait)
            codes = {each.result() for each in leaving}
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}

        async def is_free() -> bool:
            look = await stub.Check(request(dry_run=True))
            return bool(look.limits[0].held == 3_000_000)

        await eventually_async(is_free, "only what was answered is held")
        assert (await stub.Check(request(dry_run=True))).limits[0].spent == 0


def outlast(leaving: list[Future[grpc.StatusCode]]) -> None:
    """Wait until all have left, and the server, which heard of them later, knows that, too."""
    wait(leaving, 60)
    time.sleep(0.3)


def impatient_call(folder: Path, everybody: Barrier) -> grpc.StatusCode:
    """Check with little patience, together with others; return how that ended."""
    with grpc.insecure_channel(
        f"unix:{folder}/pdp.sock", options=(("grpc.use_local_subchannel_pool", 1),)
    ) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        everybody.wait()
        try:
            pb_grpc.PolicyDecisionServiceStub(channel).Check(request(), timeout=0.3)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


class SlowKeys(Keys):
    """Keys that have to be asked for; `gate` lets the answers through."""

    def __init__(self, *records: KeyRecord) -> None:
        super().__init__(*records)
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    def lookup(self, api_key: str) -> Any:
        return self._later(api_key)

    async def _later(self, api_key: str) -> CompiledKey | None:
        self.asked.set()
        await self.gate.wait()
        return super().lookup(api_key)


async def test_a_key_that_has_to_be_asked_for_is_waited_for(
    transport: Transport, tmp_path: Path
) -> None:
    keys = SlowKeys(record("leaf"))
    desk = Desk(keys=keys)
    async with serving(desk, transport, tmp_path) as stub:
        calls = [stub.Check(request(request_id=f"r{number}")) for number in range(5)]
        gone = stub.Check(request(request_id="gone"))
        await keys.asked.wait()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        keys.gate.set()
        answers = await asyncio.gather(*calls)
        (stats,) = [each for each in desk.methods if each.method == "Check"]

        async def all_ended() -> bool:
            return stats.started == sum(stats.handled.values())

        await eventually_async(all_ended, "every call has ended")
    assert stats.handled["OK"] >= 5
    assert {answer.reason for answer in answers} == {"ok"}
    held = {each.hold.request_id for each in desk.sink.records if isinstance(each, Held)}
    assert held - {"gone"} == {f"r{number}" for number in range(5)}


async def test_what_is_no_request_is_an_error_and_the_next_call_is_answered(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path) as stub:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/pdp.sock") as channel:
            raw = channel.unary_unary("/pdp.v1.PolicyDecisionService/Check", bytes, bytes)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await raw(b"\xff\xff\xff")
        # The two transports disagree on whose error it is.
        assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
        assert (await stub.Check(request())).reason == "ok"


async def test_a_decision_that_cannot_be_said_is_a_denial_and_holds_nothing(
    transport: Transport, tmp_path: Path
) -> None:
    odd = record("odd", name="\ud800")  # Half a character: no protobuf text.
    desk = Desk(record("leaf"), odd)
    async with serving(desk, transport, tmp_path) as stub:
        calls = [stub.Check(request()), stub.Check(request(api_key="odd")), stub.Check(request())]
        first, odd_one, last = await asyncio.gather(*calls)
    assert [answer.reason for answer in (first, odd_one, last)] == ["ok", "unavailable", "ok"]
    assert odd_one.http_status == 503
    settled = [each.facts.key_id for each in desk.sink.records if isinstance(each, Settled)]
    assert settled == ["odd"]


async def test_a_message_beyond_the_bound_is_refused(transport: Transport, tmp_path: Path) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(request(user_agent="x" * (MAX_MESSAGE + 1)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await stub.Check(request())).reason == "ok"


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


async def test_under_overload_checks_are_refused_at_once(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("leaf"))
    async with serving(desk, transport, tmp_path) as stub:
        desk.load.shedding = True
        answer = await stub.Check(request(request_id="r1"))
        assert (answer.reason, answer.http_status) == ("unavailable", 503)
        assert answer.response_headers == {"x-request-id": "r1", "retry-after": "1"}
        desk.load.shedding = False
        assert (await stub.Check(request())).reason == "ok"
    assert len(desk.sink.records) == 1


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
