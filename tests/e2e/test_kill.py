"""kill -9, at any time, of any process: nothing acknowledged is lost or counted twice."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from pdp.v1 import policy_decision_pb2 as pb
from tests.stack import Stack, check, eventually, eventually_async, report

HOLD_COST = 1000 * 2500 + 1000 * 10_000
"""nano-USD that gpt-4o holds for 1,000 prompt and 1,000 output tokens."""

PLANES = (("data",), ("control",), ("data", "control"))


class Traffic:
    """Checks and reports without end, noting what was acknowledged."""

    def __init__(self, stack: Stack, api_key: str) -> None:
        self._stack = stack
        self._api_key = api_key
        self.settled: set[str] = set()
        self.doubtful: set[str] = set()
        self.open: set[str] = set()

    async def run(self, stop: asyncio.Event, name: str) -> None:
        """Check, and report four of five, until `stop`."""
        number = 0
        async with self._stack.channel() as channel:
            while not stop.is_set():
                number += 1
                try:
                    await self._one(channel, f"{name}-{number}", settle=number % 5 != 0)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)

    async def _one(self, channel: grpc.aio.Channel, request_id: str, *, settle: bool) -> None:
        answer = await check(
            channel,
            self._api_key,
            request_id=request_id,
            estimated_prompt_tokens=1000,
            max_output_tokens=1000,
        )
        if answer.decision != pb.DECISION_ALLOW:
            assert answer.reason == "unavailable", answer
            await asyncio.sleep(0.01)
            return
        self.open.add(request_id)
        if not settle:
            return
        self.open.discard(request_id)
        self.doubtful.add(request_id)
        usage = {
            "reservation_id": answer.reservation_id,
            "prompt_tokens": 10,
            "completion_tokens": 10,
            "cost_usd": "0.001",
        }
        done = await report(channel, usage)
        if done.accepted:
            self.doubtful.discard(request_id)
            self.settled.add(request_id)


async def _under_fire(stack: Stack, api_key: str, planes: Sequence[str], rounds: int) -> Traffic:
    traffic = Traffic(stack, api_key)
    stop = asyncio.Event()
    workers = [asyncio.create_task(traffic.run(stop, f"w{number}")) for number in range(4)]
    for _ in range(rounds):
        before = len(traffic.settled)

        async def moving(least: int = before + 20) -> bool:
            return len(traffic.settled) >= least

        await eventually_async(moving, "traffic flows")
        pids = [stack.kill(plane) for plane in planes]
        for plane, pid in zip(planes, pids, strict=True):
            eventually(
                lambda plane=plane, pid=pid: stack.child_pid(plane) not in (0, pid), "it is back"
            )

    settled_by_now = len(traffic.settled)

    async def healed() -> bool:
        return len(traffic.settled) >= settled_by_now + 20

    await eventually_async(healed, "traffic flows again")
    stop.set()
    await asyncio.gather(*workers)
    return traffic


@pytest.mark.parametrize("planes", PLANES, ids="+".join)
async def test_nothing_acknowledged_is_lost_or_doubled(stack: Stack, planes: Sequence[str]) -> None:
    key = stack.create_key(budget_limits={"total": 1000.0})
    stack.start()
    traffic = await _under_fire(stack, key["api_key"], planes, rounds=3)
    look = await stack.check(key["api_key"], dry_run=True)
    limit = next(each for each in look.limits if each.name == "budget_limits.total")
    # Whatever was not shipped when the last process died is shipped by the next.
    stack.stop()
    stack.start()
    eventually(lambda: "pdp_spool_records 0.0" in stack.get("/metrics")[1], "all is shipped")
    stack.stop()

    entries = [e for e in stack.audit(limit=1_000_000) if e["request_id"].startswith("w")]
    by_request = {e["request_id"]: e for e in entries}
    assert len(by_request) == len(entries), "one entry per request"
    settled = {name for name, e in by_request.items() if e["status"] == "success"}
    pending = {name for name, e in by_request.items() if e["status"] == "pending"}
    assert traffic.settled <= settled
    assert settled - traffic.settled <= traffic.doubtful
    assert traffic.open <= pending
    # What was allowed but never heard of by the client is held as well: it may have run.
    assert limit.spent == len(settled) * 1_000_000
    assert limit.held == len(pending) * HOLD_COST
    usage = stack.json("usage")
    row = next(each for each in usage["usage"] if each["api_key_id"] == key["id"])
    assert round(row["spent_usd"] * 1e9) == limit.spent
    assert round(row["held_usd"] * 1e9) == limit.held


async def test_the_supervisor_takes_its_children_with_it_and_the_next_start_takes_over(
    stack: Stack,
) -> None:
    key = stack.create_key(budget_limits={"total": 1.0})
    stack.start()
    pids = [stack.child_pid("data"), stack.child_pid("control")]
    hold = await stack.check(key["api_key"], max_output_tokens=1000)
    assert hold.reason == "ok"
    stack.kill_supervisor()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "no orphans", 5.0)
    stack.start()
    look = await stack.check(key["api_key"], dry_run=True)
    assert look.limits[0].held == 10_000_000


async def test_the_control_plane_stopped_does_not_show_in_checks_of_known_keys(
    stack: Stack,
) -> None:
    key = stack.create_key()
    other = stack.create_key()
    stack.start()
    async with stack.channel() as channel:
        assert (await check(channel, key["api_key"])).reason == "ok"
        pid = stack.kill("control", signal.SIGSTOP)
        try:
            start = time.monotonic()
            for _ in range(50):
                assert (await check(channel, key["api_key"])).reason == "ok"
            assert time.monotonic() - start < 5.0, "no call waited for the control plane"

            unknown = await check(channel, other["api_key"])
            assert (unknown.reason, unknown.http_status) == ("unavailable", 503)
            assert unknown.HasField("retry_after")
            assert stack.get("/readyz")[0] == 200
        finally:
            os.kill(pid, signal.SIGCONT)

        async def healed() -> bool:
            return (await check(channel, other["api_key"])).reason == "ok"

        await eventually_async(healed, "the other key is known")


async def test_a_key_revoked_while_cut_off_is_refused_after_the_stated_staleness(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path, PDP_MAX_STALENESS="2")
    stack.init()
    key = stack.create_key()
    stack.start()
    try:
        async with stack.channel() as channel:
            assert (await check(channel, key["api_key"])).reason == "ok"
            pid = stack.kill("control", signal.SIGSTOP)
            try:

                async def refused() -> bool:
                    return (await check(channel, key["api_key"])).reason == "unavailable"

                await eventually_async(refused, "a stale key is a 503", deadline=5.0)
            finally:
                os.kill(pid, signal.SIGCONT)

            async def back() -> bool:
                return (await check(channel, key["api_key"])).reason == "ok"

            await eventually_async(back, "the key is served again")
    finally:
        stack.stop()
