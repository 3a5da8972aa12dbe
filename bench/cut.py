"""Redis stands still for a while under load: what callers see before, meanwhile and afterwards.

    .venv/bin/python -m bench.cut [--seconds 60] [--out FILE]

Calls leave on time, turn by turn on four keys: without limits, with a rate, with a budget, and
with one that allows while Redis is away. Times count from when a call was due.
"""

import asyncio
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.caller import at_rate, connect, quantile
from bench.figures import Figures, options
from bench.load import CHECK
from pdp.v1 import policy_decision_pb2 as pb
from tests.redis import RedisServer, running_redis
from tests.stack import Stack, eventually

_RATE = 400
_CALM, _AFTER = 5, 10
"""Seconds before and after the cut."""

_SETTLED = 120
"""Seconds in which Redis has counted all that was admitted without it."""

_COST = 100 * 2500 + 1 * 10_000
"""nano-USD that gpt-4o holds for 100 prompt and one output token."""

_ROOM = 1000
"""Calls that the budgets have room for: reached after the cut."""

_KEYS: dict[str, dict[str, Any]] = {
    "no limits": {},
    "rate": {"rate_limits": {"per_second": 1000}},
    "budget": {"budget_limits": {"total": _ROOM * _COST / 1e9}},
    "budget, allow": {"budget_limits": {"total": 9e6, "on_backend_error": "allow"}},
}


def phase_of(due: float, seconds: int) -> str:
    """Return in which part of the run a call was due."""
    return "before" if due < _CALM else "cut" if due < _CALM + seconds else "after"


async def run(
    stack: Stack, server: RedisServer, seconds: int
) -> tuple[dict[tuple[str, str], list[float]], dict[tuple[str, str], Counter[str]], float]:
    """Return times and reasons by phase and key, and the seconds until budgets went on."""
    keys = [stack.create_key(**body)["api_key"] for body in _KEYS.values()]
    messages = [
        pb.CheckRequest(
            api_key=key,
            action="chat:completions",
            model="gpt-4o",
            estimated_prompt_tokens=100,
            max_output_tokens=1,
        ).SerializeToString()
        for key in keys
    ]
    names = list(_KEYS)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    thawed, healed = 0.0, 0.0

    def answered(due: float, took: float, answer: bytes) -> None:
        nonlocal healed
        name = names[round(due * _RATE) % len(names)]
        reason = pb.CheckResponse.FromString(answer).reason if answer else "no answer"
        phase = phase_of(due, seconds)
        times[phase, name].append(took)
        reasons[phase, name][reason] += 1
        if thawed and not healed and name == "budget" and reason == "ok":
            healed = time.perf_counter() - thawed

    async def cut() -> None:
        nonlocal thawed
        await asyncio.sleep(_CALM)
        server.freeze()
        await asyncio.sleep(seconds)
        server.thaw()
        thawed = time.perf_counter()

    caller = await connect(stack.grpc_port, CHECK)
    cutting = asyncio.create_task(cut())
    await at_rate(caller, messages, _RATE, _CALM + seconds + _AFTER, answered)
    await cutting
    caller.close()
    return times, reasons, healed


def main() -> None:
    chosen = options(seconds=60)
    figures = Figures("ms")
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        at = Stack(folder, PDP_REDIS_URL=server.local_url)
        at.init()
        at.start()
        stack.callback(at.stop)
        times, reasons, healed = asyncio.run(run(at, server, chosen.seconds))
        for phase, name in times:
            found = [each * 1000 for each in times[phase, name]]
            title = f"{phase}: {name}"
            figures.add(title, quantile(found, 99))
            print(
                f"{title:24} p50 {quantile(found, 50):6.2f} p99 {quantile(found, 99):6.2f} "
                f"max {max(found):6.1f} ms  {dict(reasons[phase, name])}"
            )
        figures.add("healed", healed * 1000)
        told = f"{healed:.2f} s after Redis goes on" if healed else "not within the run"
        print(f"a budget admits {told}")
        admitted = {
            name: sum(reasons[phase, name]["ok"] for phase in ("before", "cut", "after"))
            for name in ("budget", "budget, allow")
        }
        assert admitted["budget"] <= _ROOM, admitted
        expected = {count * _COST for count in admitted.values()}
        eventually(lambda: expected <= held(server), f"Redis holds {expected}", _SETTLED)
        print(f"admitted and held to the nano-dollar: {admitted}, of {_ROOM} that a budget takes")
    figures.save(chosen.out, "cut")


def held(server: RedisServer) -> set[int]:
    """Return what Redis holds of each key, ever."""
    with server.client() as client:
        names = [name for name in client.keys("*:t:*") if client.type(name) == b"hash"]
        return {int(client.hget(name, "h") or 0) for name in names}


if __name__ == "__main__":
    main()
