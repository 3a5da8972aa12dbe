"""Ten million Checks, settled, while keys come, change and go: memory stays flat.

    .venv/bin/python -m bench.soak [--checks 10000000] [--out FILE]

In process, with the real key cache, counters and spool; one Check in twenty is left to
run out, one key in a hundred Checks changes, and the clock runs ten thousand times as
fast, so that holds expire, corrections are forgotten and days pass.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from bench.engine import Desk
from bench.figures import Figures
from bench.load import rss
from pdp.model import Decision, Request, Usage
from pdp.spool.keeper import SpoolKeeper

_KEYS = 5_000
_SPEED = 10_000


class Fast:
    """A clock that runs ahead."""

    def __init__(self) -> None:
        self._start = time.time_ns()

    def __call__(self) -> int:
        return self._start + (time.time_ns() - self._start) * _SPEED


async def soak(checks: int, folder: Path, out: Path | None) -> None:
    """Print and keep the memory (MB) after each tenth."""
    clock = Fast()
    desk = Desk(folder, _KEYS, 0, clock=clock)
    await desk.fill()
    keeper = SpoolKeeper(desk.journal, desk.counters, clock)
    figures = Figures("MB")

    def look(done: int) -> None:
        figures.add(f"after {done:,}", rss(os.getpid()))
        print(f"{done:12,} checks {rss(os.getpid()):8.1f} MB", flush=True)
        figures.save(out, "soak")  # So that one that is broken off has told something.

    for done in range(checks):
        raw = desk.secrets[done % _KEYS]
        desk.cache.alive()  # Each time: on a busy machine moments are long.
        if done % 100 == 0:
            desk.cache.changed([f"key_{done // 100 % _KEYS}"], [])
        request = Request(
            f"r{done}", raw, "chat:completions", "gpt-4o", prompt_tokens=9, max_output_tokens=9
        )
        answer = desk.engine.check(request)
        decision = answer if isinstance(answer, Decision) else await answer
        assert decision.allowed, decision
        if done % 20:
            usage = Usage(reservation_id=decision.reservation_id, prompt_tokens=9)
            desk.engine.report(usage)
        if done % 10_000 == 0:
            await tidy(desk, keeper)
        if done % (checks // 10) == 0:
            look(done)
    look(checks)


async def tidy(desk: Desk, keeper: SpoolKeeper) -> None:
    """Do what a data plane does beside its Checks."""
    while await desk.engine.expire():
        pass
    desk.journal.sync()
    desk.journal.shipped(desk.journal.next_sequence)
    await keeper.keep()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--checks", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(soak(chosen.checks, Path(name), chosen.out))


if __name__ == "__main__":
    main()
