"""NO-OVERSPEND under fire: data planes that are killed, reports that are lost, late and doubled.

    make storm ARGS="--checks 100000 --planes 4"
    make storm ARGS="--checks 5000 --planes 2 --workers 2 --kills 12 --postgresql"

With `--workers` each data plane is several processes behind one port, and one of them is killed.
PostgreSQL takes spools side by side: what one data plane held and another settled meets there.

An oracle knows what each request costs by its name alone, and which reports were
acknowledged. All the while the counters are read from Redis: at no instant is spent + held
above a limit. Then every hold without a report runs out, and is charged in full, also those
of a data plane that was killed before it could write one down; some reports come only after
that. In the end Redis, the ledger and the oracle agree to the nano-dollar, and nothing is held.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import grpc

from pdp.v1 import policy_decision_pb2 as pb
from tests.postgres import running_postgres
from tests.redis import RedisServer, running_redis
from tests.stack import Stack, check, eventually, eventually_async, report

HOLD = 100 * 2500 + 100 * 10_000
"""nano-USD that gpt-4o holds for 100 prompt and 100 output tokens."""

PEPPER = "the pepper of these tests, and of no other"
WORKERS = 6
HOLD_TTL = 5
"""Seconds."""

_CHECKS = re.compile(r"^pdp_checks_total\{.*\} (\S+)$", re.MULTILINE)


def cost_of(request_id: str) -> int:
    """Return what a request costs in nano-USD: never more than it holds."""
    return random.Random(request_id).randrange(HOLD + 1)


class Storm:
    """Traffic over some data planes on one tree: a root, a team with a budget, its users."""

    def __init__(self, stacks: list[Stack], server: RedisServer, seed: int) -> None:
        self.stacks = stacks
        self.server = server
        self.random = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.reported: set[str] = set()
        self.allowed: dict[str, str] = {}
        self.late: dict[str, dict[str, str]] = {}
        """Reports that come once all that is held has run out."""
        self.outcomes: Counter[str] = Counter()
        self.slack: Counter[int] = Counter()
        self.looks = 0
        self.counted: dict[Stack, float] = {}
        """What data planes of several workers have told of their Checks: it never falls."""

    def plant(self, checks: int) -> None:
        """Make the tree; the team's budget is for half of the checks."""
        self.limit = checks * HOLD // 4
        team = self.stacks[0].create_key(
            key_type="team", team_id="t", budget_limits={"total": self.limit / 1e9}
        )
        self.team: str = team["id"]
        self.keys = [
            self.stacks[0].create_key(key_type="user", team_id="t")["api_key"] for _ in range(4)
        ]

    async def run(self, checks: int, kills: int) -> None:
        """Check so often, and kill so often, evenly spread."""
        counted = iter(range(checks))
        stop = asyncio.Event()
        watching = asyncio.create_task(self._watch(stop))
        workers = [asyncio.create_task(self._work(counted)) for _ in range(WORKERS)]
        for number in range(kills):
            goal = checks * (number + 1) // (kills + 1)
            await eventually_async(lambda g=goal: self._done(g), "traffic flows", 600)
            await asyncio.to_thread(self._strike, number)
        await asyncio.gather(*workers)
        stop.set()
        await watching

    async def _done(self, checks: int) -> bool:
        return sum(self.outcomes.values()) >= checks

    def _strike(self, number: int) -> None:
        if number % 3 == 2:
            # With its data: each write is on disk before it is answered.
            self.server.stop()
            self.server.start()
            return
        stack = self.random.choice(self.stacks)
        pids = eventually(lambda: stack.child_pids("data"), "one runs")
        pid = self.random.choice(pids)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: _is_back(stack, pid, len(pids)), "it is back", 60)

    async def _work(self, counted: Any) -> None:
        async with AsyncExitStack() as lines:
            channels = [await lines.enter_async_context(s.channel()) for s in self.stacks]
            for number in counted:
                await self._one(channels, f"storm-{number}")

    async def _one(self, channels: list[grpc.aio.Channel], request_id: str) -> None:
        api_key = self.random.choice(self.keys)
        answer = None
        while answer is None:
            try:
                answer = await check(
                    self.random.choice(channels),
                    api_key,
                    request_id=request_id,
                    estimated_prompt_tokens=100,
                    max_output_tokens=100,
                )
            except grpc.aio.AioRpcError:
                # Sent again under its name: it is one request, whoever answers.
                await asyncio.sleep(0.02)
        self.outcomes[answer.reason] += 1
        if answer.decision != pb.DECISION_ALLOW:
            if answer.reason == "unavailable":
                await asyncio.sleep(0.02)
            return
        self.allowed[request_id] = answer.reservation_id
        fate = self.random.random()
        if fate < 0.1:
            return  # Its report is lost.
        usage = {
            "reservation_id": answer.reservation_id,
            "cost_usd": f"{cost_of(request_id) / 1e9:.9f}",
        }
        self.reported.add(request_id)
        if fate < 0.15:
            self.late[request_id] = usage
            return
        times = 2 if fate > 0.8 else 1
        await asyncio.gather(*(self._report(channels, request_id, usage) for _ in range(times)))

    async def _report(
        self, channels: list[grpc.aio.Channel], request_id: str, usage: dict[str, str]
    ) -> None:
        for _ in range(200):
            try:
                done = await report(self.random.choice(channels), usage)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
                continue
            if done.accepted or done.duplicates:
                self.acknowledged.add(request_id)
                return
            await asyncio.sleep(0.05)

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            found = await asyncio.to_thread(self.team_sums)
            if found is not None:
                assert sum(found) <= self.limit, "NO-OVERSPEND"
                self.looks += 1
                self.slack[10 * (self.limit - sum(found)) // self.limit] += 1
            await asyncio.to_thread(self._look_at_metrics)
            await asyncio.sleep(0.02)

    def _look_at_metrics(self) -> None:
        for stack in self.stacks:
            if stack.environment.get("PDP_WORKERS", "1") != "1":
                status, told = stack.get("/metrics")
                if status == 200:
                    counted = sum(map(float, _CHECKS.findall(told)))
                    assert counted >= self.counted.get(stack, 0), "counters never fall"
                    self.counted[stack] = counted

    def team_sums(self) -> tuple[int, int] | None:
        """Return (spent, held) of the team as Redis has it; None while it is away."""
        try:
            with self.server.client() as client:
                (name,) = client.keys(f"*:t:{self.team}") or (None,)
                found = client.hmget(name, "s", "h") if name else [None, None]
        except OSError:
            return None
        except Exception as error:
            if "redis" in type(error).__module__:
                return None
            raise
        return int(found[0] or 0), int(found[1] or 0)

    async def settle(self) -> None:
        """Wait until nothing is held, report what is late, and wait until all is counted."""
        await eventually_async(self._nothing_is_held, "all holds have run out", 180)
        async with AsyncExitStack() as lines:
            channels = [await lines.enter_async_context(s.channel()) for s in self.stacks]
            for request_id, usage in self.late.items():
                await self._report(channels, request_id, usage)
        for stack in self.stacks:
            await eventually_async(lambda s=stack: _shipped(s), "all is shipped", 120)

    async def _nothing_is_held(self) -> bool:
        sums = await asyncio.to_thread(self.team_sums)
        return sums is not None and sums[1] == 0

    def verify(self) -> None:
        """Hold the ledger and Redis to the oracle."""
        entries = [e for e in self.stacks[0].audit(limit=10_000_000) if _is_ours(e)]
        allowed = [e for e in entries if e["status"] != "denied"]
        assert {e["status"] for e in allowed} <= {"success", "expired"}, "nothing is pending"
        names = [e["reservation_id"] for e in allowed]
        assert len(names) == len(set(names)), "one entry for each hold"
        assert set(self.allowed.values()) <= set(names), "who was told to go on is in the ledger"
        settled = [e["request_id"] for e in allowed if e["status"] == "success"]
        assert len(settled) == len(set(settled)), "each request is paid for once"
        assert self.acknowledged == set(settled) == self.reported
        for entry in allowed:
            assert round(entry["cost_usd"] * 1e9) == self._owed(entry)
        spent = sum(map(self._owed, allowed))
        # What was taken while Redis was away is counted there within moments.
        eventually(lambda: self.team_sums() == (spent, 0), f"Redis has {spent}, and holds 0", 30)
        assert spent <= self.limit
        # Every sum of every key and window, and not one by what may be on its way.
        (compared,) = self.stacks[0].json("reconcile", "--check")["organizations"]
        assert (compared["state"], compared["drifts"]) == ("compared", [])

    def _owed(self, entry: dict[str, Any]) -> int:
        """Return what an entry costs: what was reported, else all that was held."""
        return cost_of(entry["request_id"]) if entry["status"] == "success" else HOLD

    def tell(self) -> None:
        """Print what happened."""
        print(f"outcomes {dict(self.outcomes)}; {self.looks} looks at Redis")  # noqa: T201
        for counted in self.counted.values():
            print(f"workers of a data plane have told of {counted:.0f} Checks")  # noqa: T201
        for tenth in sorted(self.slack):
            share = self.slack[tenth] / self.looks
            print(f"slack {tenth * 10:3d}%..: {share:6.1%} {'#' * round(40 * share)}")  # noqa: T201


def _is_ours(entry: dict[str, Any]) -> bool:
    return str(entry["request_id"]).startswith("storm-")


def _is_back(stack: Stack, killed: int, workers: int) -> bool:
    pids = stack.child_pids("data")
    return killed not in pids and len(pids) >= workers


async def _shipped(stack: Stack) -> bool:
    return "\npdp_spool_records 0.0\n" in await asyncio.to_thread(lambda: stack.get("/metrics")[1])


def plane_beside(stack: Stack, folder: Path, **settings: str) -> Stack:
    """Return another data plane with the control plane of a stack."""
    folder.mkdir()
    other = Stack(folder, PDP_CONTROL_URL=f"unix:{stack.data_dir}/control.sock", **settings)
    other.arguments = ("--plane", "data")
    return other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=100_000)
    parser.add_argument("--planes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="processes of each data plane")
    parser.add_argument("--postgresql", action="store_true", help="for the ledger, not SQLite")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}")  # noqa: T201
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            running_redis("--appendonly", "yes", "--appendfsync", "always")
        )
        settings = {
            "PDP_REDIS_URL": server.url,
            "PDP_REDIS_DEADLINE": "0.5",
            "PDP_HOLD_TTL": str(HOLD_TTL),
            "PDP_KEY_PEPPER": PEPPER,
            "PDP_WORKERS": str(chosen.workers),
        }
        first = Stack(folder, **settings)
        if chosen.postgresql:
            database = stack.enter_context(running_postgres())
            first.environment["PDP_DATABASE_URL"] = database.url("postgres")
        first.init()
        stacks = [first]
        stacks += [
            plane_beside(first, folder / f"plane{number}", **settings)
            for number in range(1, chosen.planes)
        ]
        for each in stacks:
            each.start()
        for each in stacks:
            stack.callback(each.stop)
        storm = Storm(stacks, server, chosen.seed)
        storm.plant(chosen.checks)
        asyncio.run(_whole(storm, chosen.checks, chosen.kills))


async def _whole(storm: Storm, checks: int, kills: int) -> None:
    await storm.run(checks, kills)
    await storm.settle()
    storm.tell()
    storm.verify()


if __name__ == "__main__":
    main()
