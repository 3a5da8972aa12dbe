"""Calls and reports of a data plane over a real Redis: cancelled, unheard, broken off midway."""

import asyncio
import random
from collections.abc import AsyncIterator
from time import perf_counter_ns
from typing import Any

import grpc
import pytest
from pygrpc_native._native import EVENT_CANCEL

from pdp.options import Options
from pdp.records import Record
from pdp.serve.decision_service import DecisionService
from pdp.serve.fast import FastServer
from pdp.serve.native import CALL, Event
from pdp.serve.rpc import MethodStats, Shortcut, encoded
from pdp.serve.sink import JournalSink
from pdp.serve.turn import Turn
from pdp.v1 import policy_decision_pb2 as pb
from tests.counting import Fleet
from tests.redis import RedisServer
from tests.stack import eventually_async
from tests.wire.harness import NOON, Desk, record


class Front:
    """The HTTP/2 side; some callers are gone, which is seen when they are answered."""

    def __init__(self, chance: random.Random) -> None:
        self.allowed: set[str] = set()
        self._chance = chance

    def respond(self, _call_id: int, payload: bytes) -> bool:
        if self._chance.random() < 0.1:
            return False
        answer = pb.CheckResponse.FromString(payload)
        assert answer.reason == "ok", answer
        self.allowed.add(answer.reservation_id)
        return True


class Spool:
    """Where records are written down; counters read them from there."""

    crowded = False

    def __init__(self, written: list[Record]) -> None:
        self._written = written

    def append(self, *records: Record) -> None:
        self._written += records

    def sync(self) -> None:
        pass


class Plane:
    """A data plane, without its ports and its disk."""

    def __init__(self, redis: RedisServer) -> None:
        self.fleet = Fleet(redis)
        sink = JournalSink(Spool(self.fleet.books.spool("spool1")))
        self.turn = Turn(sink.begin, sink.end)
        self.counting = self.fleet.plane(turn=self.turn)
        self.desk = Desk(
            record("root", budget_limits={"total": 9000.0}),
            options=Options(roots_in_ids=True),
            counters=self.counting.counters,
            sink=sink,
        )
        self.service = DecisionService(self.desk.engine, self.desk.stats, self.desk.load)

    def server(self, front: Any) -> FastServer:
        server = FastServer()
        server._front, server._loop = front, asyncio.get_running_loop()
        check = grpc.unary_unary_rpc_method_handler(lambda _request, _context: None)
        server._table = [("/Check", check)]
        stats = MethodStats("unary", "service", "Check")
        from_string = pb.CheckRequest.FromString
        server._by_id = [Shortcut(self.service.check_now, stats, from_string, encoded)]
        server.take_turns(self.turn)
        return server

    async def money(self) -> tuple[int, int]:
        """Return (spent, held) as Redis has it."""
        key = self.desk.keys.by_id("root")
        assert key is not None
        scopes = key.plan.scopes
        await self.counting.counters._look("root", scopes, NOON)
        return self.counting.counters.spent(scopes[0], "total", NOON)

    async def report(self, numbers: list[int]) -> pb.ReportResponse:
        usages = [
            pb.Usage(key_id="root", request_id=f"r{each}", status="success", cost_usd="0.001")
            for each in numbers
        ]
        return await self.service.Report(pb.ReportRequest(usages=usages), None)


@pytest.fixture
async def plane(redis: RedisServer) -> AsyncIterator[Plane]:
    redis.flush()
    plane = Plane(redis)
    yield plane
    await plane.counting.close()


async def test_of_calls_that_end_anyhow_those_count_that_were_answered(plane: Plane) -> None:
    chance = random.Random(7)
    front = Front(chance)
    server = plane.server(front)
    asked = pb.CheckRequest(
        api_key="root", action="chat:completions", model="gpt-4o", estimated_prompt_tokens=10
    ).SerializeToString()
    for lot in range(40):
        ids = range(10 * lot, 10 * lot + 10)
        events: list[Event] = [(CALL, each, 0, asked, None, ((), "peer", None)) for each in ids]
        gone = [each for each in (*server._calls, *ids) if chance.random() < 0.3]
        events += [(EVENT_CANCEL, each, 0, b"", None, ((), "", None)) for each in gone]
        server.on_events(events, perf_counter_ns())
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)

    async def all_have_ended() -> bool:
        return not server._calls and not server._undoing

    await eventually_async(all_have_ended, "all calls have ended")
    await plane.fleet.tender(plane.counting).tend()
    (shortcut,) = server._by_id
    assert shortcut is not None
    assert sum(shortcut.stats.handled.values()) == shortcut.stats.started == 400
    assert set(shortcut.stats.handled) == {"OK", "Canceled"}
    held = {each.reservation_id for each in plane.counting.roots.own.of_root("root")}
    assert held == front.allowed
    assert await plane.money() == (0, len(held) * (10 + 2 * 4096) * 1000)


async def test_in_an_outage_each_usage_has_its_answer_and_is_counted_once(
    plane: Plane, redis: RedisServer
) -> None:
    numbers, calls = list(range(300)), 0
    assert (await plane.report(numbers[:2])).accepted == 2
    line = plane.counting.line
    run = line.run_script

    async def run_until_it_stands_still(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            redis.freeze()
        return await run(*arguments, **options)

    line.run_script = run_until_it_stands_still  # type: ignore[method-assign]
    try:
        with plane.counting.hurried(1.0):  # What goes out before it stands still is answered.
            first = await plane.report(numbers)
    finally:
        redis.thaw()
    assert (first.duplicates, first.accepted + len(first.errors)) == (2, 298)
    assert first.accepted > 0
    assert {each.code for each in first.errors} == {"unavailable"}
    await plane.fleet.tender(plane.counting).tend()
    again = await plane.report([int(each.request_id[1:]) for each in first.errors])
    assert again.accepted == len(first.errors)
    assert await plane.money() == (300 * 1_000_000, 0)
