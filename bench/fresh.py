"""Freshness under load, cold start, and memory: idle, and of a cached key.

    .venv/bin/python -m bench.fresh [--seconds 8] [--rounds 3] [--out FILE]

(i) p99.9 of Check at 1,000 a second, on time whatever happens, quiet and while the control
plane takes records as fast as it can and 10,000 keys change in one transaction; (ii) from
the start of `pdp serve` to ready with 100,000 keys in the store; (iii) memory of both
planes then, idle; (iv) what the data plane grows by for each key that it gets to know.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.caller import all_of, at_rate, connect, quantile
from bench.crowd import FAT, LEAN, crowd
from bench.figures import Figures, options
from bench.load import CHECK, rss
from pdp.v1 import policy_decision_pb2 as pb
from tests.stack import Stack, eventually

_RATE, _RATE_CHANGED = 900, 100
_HOT, _CHANGED, _STORED, _WARM = 100, 10_000, 100_000, 1_000
_IN_FLIGHT = 64
_PERCENTS = (50, 99, 99.9)


def team(stack: Stack) -> str:
    """Make a parent; return its id."""
    found: str = stack.create_key(key_type="team", team_id="t")["id"]
    return found


def messages(raw_keys: Sequence[str], *, dry_run: bool = False) -> list[bytes]:
    """Return a Check of each key."""
    return [
        pb.CheckRequest(
            api_key=raw, action="chat:completions", model="gpt-4o",
            estimated_prompt_tokens=100, max_output_tokens=1, dry_run=dry_run,
        ).SerializeToString()
        for raw in raw_keys
    ]  # fmt: skip


@contextmanager
def started(stack: Stack) -> Iterator[None]:
    """Run a stack, and stop it whatever happens."""
    try:
        stack.start()
        yield
    finally:
        stack.stop()


# -- (i) Freshness


@contextmanager
def helper(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Give a process of this folder that has said its first word."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), command
        yield process
    finally:
        process.kill()
        process.wait()


async def play(
    stack: Stack, hot: list[bytes], changed: list[bytes], seconds: int, parent: str | None
) -> tuple[list[float], list[float]]:
    """Return the seconds that Checks of both kinds took; with `parent`, its keys change."""
    times: tuple[list[float], list[float]] = ([], [])
    refused: list[bytes] = []

    def into(found: list[float]) -> Any:
        def answered(_due: float, took: float, answer: bytes) -> None:
            found.append(took)
            if pb.CheckResponse.FromString(answer).decision != pb.DECISION_ALLOW:
                refused.append(answer)

        return answered

    with ExitStack() as helpers:
        if parent is not None:
            address = f"unix:{stack.data_dir.absolute()}/control.sock"
            helpers.enter_context(helper("bench.feed", address, parent))
            change = helpers.enter_context(helper("bench.crowd", str(stack.data_dir), parent))
            assert change.stdin is not None
            asyncio.get_running_loop().call_later(seconds / 4, change.stdin.write, "\n")
            asyncio.get_running_loop().call_later(seconds / 4, change.stdin.flush)
        caller = await connect(stack.grpc_port, CHECK)
        other = await connect(stack.grpc_port, CHECK)
        await asyncio.gather(
            at_rate(caller, hot, _RATE, seconds, into(times[0])),
            at_rate(other, changed, _RATE_CHANGED, seconds, into(times[1])),
        )
        caller.close()
        other.close()
    if refused:
        print(f"  {len(refused)} not allowed: {pb.CheckResponse.FromString(refused[0]).reason}")
    return times


async def look_up(stack: Stack, checks: list[bytes]) -> None:
    """Have the data plane know the keys of some Checks."""
    caller = await connect(stack.grpc_port, CHECK)
    for answer in await all_of(caller, checks, _IN_FLIGHT):
        found = pb.CheckResponse.FromString(answer)
        assert found.decision == pb.DECISION_ALLOW, found
    caller.close()


def freshness(folder: Path, seconds: int, rounds: int) -> Figures:
    """Measure (i)."""
    figures, stack = Figures("ms"), Stack(folder)
    stack.init()
    parents = team(stack), team(stack)
    hot = messages(asyncio.run(crowd(stack, parents[0], _HOT, FAT)))
    raw_changed = asyncio.run(crowd(stack, parents[1], _CHANGED, LEAN))
    changed, known = messages(raw_changed), messages(raw_changed, dry_run=True)
    with started(stack):
        for _ in range(rounds):
            for title, parent in (("quiet", None), ("busy", parents[1])):
                uvloop.run(look_up(stack, hot + known))
                kinds = uvloop.run(play(stack, hot, changed, seconds, parent))
                for kind, times in zip(("others", "changed"), kinds, strict=True):
                    for percent in _PERCENTS:
                        figures.add(f"{title}, {kind} p{percent}", quantile(times, percent) * 1000)
    for kind in ("others", "changed"):
        for percent in _PERCENTS:
            figures.show(f"quiet, {kind} p{percent}", only=f"{kind} p{percent}")
    return figures


# -- (ii), (iii) Cold start, idle memory


def cold(folder: Path, rounds: int) -> Figures:
    """Measure (ii) and (iii)."""
    figures, stack = Figures(""), Stack(folder)
    stack.init()
    asyncio.run(crowd(stack, team(stack), _STORED, LEAN))
    for _ in range(rounds):
        start = time.monotonic()
        stack.launch()
        eventually(lambda: stack.get("/readyz")[0] == 200, "pdp serve is ready")
        figures.add("start to ready, s", time.monotonic() - start)
        time.sleep(2)
        control, data = stack.child_pid("control"), stack.child_pid("data")
        assert stack.process is not None
        figures.add("idle, control plane, MB", rss(control))
        figures.add("idle, data plane, MB", rss(data))
        figures.add("idle, both planes, MB", rss(control) + rss(data))
        figures.add("idle, both planes, shared pages halved, MB", pss(control) + pss(data))
        figures.add("idle, supervisor, MB", rss(stack.process.pid))
        stack.stop()
    for title, values in figures.rounds.items():
        shown = f"{figures.median(title):8.2f} ({min(values):.2f}-{max(values):.2f})"
        print(f"{title:44} {shown}", flush=True)
    return figures


def pss(pid: int) -> float:
    """Return the memory of a process in MB, shared pages divided by those who share them."""
    found = re.search(r"Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    assert found
    return int(found[1]) / 1024


# -- (iv) A cached key


def cached(folder: Path, title: str, authored: dict[str, Any]) -> Figures:
    """Measure (iv) for keys with a document."""
    figures, stack = Figures("bytes a key"), Stack(folder)
    stack.init()
    raw_keys = asyncio.run(crowd(stack, team(stack), _WARM + _CHANGED, authored))
    checks = messages(raw_keys, dry_run=True)
    with started(stack):
        data = stack.child_pid("data")
        uvloop.run(look_up(stack, checks[:_WARM]))
        before = rss(data)
        uvloop.run(look_up(stack, checks[_WARM:]))
        figures.add(title, (rss(data) - before) * 2**20 / _CHANGED)
    print(f"{title:44} {figures.median(title):8.0f} bytes a cached key", flush=True)
    return figures


def main() -> None:
    chosen = options(seconds=8)
    for name, measure in (
        ("fresh", lambda folder: freshness(folder, chosen.seconds, chosen.rounds)),
        ("cold", lambda folder: cold(folder, chosen.rounds + 2)),
        ("cached lean", lambda folder: cached(folder, "lean key", LEAN)),
        ("cached fat", lambda folder: cached(folder, "ten statements, six limits", FAT)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder)).save(chosen.out, name)


if __name__ == "__main__":
    main()
