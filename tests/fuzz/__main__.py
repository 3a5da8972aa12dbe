"""`make fuzz`: very many inputs in several processes, or one saved episode again."""

import argparse
import asyncio
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from msgspec import Struct
from structlog.testing import capture_logs

from tests.fuzz.episode import DRIVERS, STEPS, Broken, load, play, replay

_CHUNK: Final = 100
"""Episodes that a process plays before it says how it went."""

_SHARES: Final = {
    "ext_authz": 25,
    "ext_authz_forms": 10,
    "nginx": 10,
    "nginx_forms": 5,
    "usage_lines": 10,
    "check": 10,
    "report": 10,
    "access_log": 10,
    "mixed": 10,
}
"""Of the inputs, in percent."""


class Chunk(Struct, frozen=True):
    """Episodes `first` to `last` (exclusive) of a driver."""

    driver: str
    seed: str
    first: int
    last: int
    folder: Path


class Played(Struct, frozen=True):
    """How a chunk went; `saved` is where the input is that broke something."""

    driver: str
    inputs: int
    seconds: float
    outcomes: Counter[str]
    violation: str = ""
    saved: str = ""


def play_chunk(chunk: Chunk) -> Played:
    """Play episodes until one breaks an invariant."""
    return asyncio.run(_play(chunk))


async def _play(chunk: Chunk) -> Played:
    start, outcomes = time.perf_counter(), Counter[str]()
    violation = saved = ""
    with capture_logs() as logs:
        for number in range(chunk.first, chunk.last):
            try:
                outcomes += await play(chunk.driver, f"{chunk.seed} {number}", logs)
            except Broken as broken:
                violation, saved = str(broken), str(broken.save(chunk.folder))
                break
    seconds = time.perf_counter() - start
    return Played(chunk.driver, outcomes.total(), seconds, outcomes, violation, saved)


def chunks(drivers: Sequence[str], count: int, seed: str, folder: Path) -> Iterator[Chunk]:
    """Share the inputs out among the drivers."""
    shares = sum(_SHARES[each] for each in drivers)
    for driver in drivers:
        episodes = -(-count * _SHARES[driver] // (shares * STEPS))
        for first in range(0, episodes, _CHUNK):
            yield Chunk(driver, seed, first, min(first + _CHUNK, episodes), folder)


def run(work: Sequence[Chunk], processes: int) -> int:
    """Play everything and tell about it; return the exit status."""
    played: list[Played] = []
    with ProcessPoolExecutor(processes) as pool:
        for done in as_completed([pool.submit(play_chunk, each) for each in work]):
            played.append(done.result())
            if len(played) % 20 == 0:
                _tell(f"{sum(each.inputs for each in played):11,} inputs\n")
            if played[-1].violation:
                pool.shutdown(cancel_futures=True)
                break
    for driver in dict.fromkeys(each.driver for each in work):
        _tell_driver(driver, [each for each in played if each.driver == driver])
    broken = [each for each in played if each.violation]
    for each in broken:
        _tell(f"\n{each.driver}: {each.violation}\nsaved: {each.saved}\n")
        _tell(f"again: python -m tests.fuzz --replay {each.saved}\n")
    return 1 if broken else 0


def _tell_driver(driver: str, played: Sequence[Played]) -> None:
    inputs, seconds = sum(each.inputs for each in played), sum(each.seconds for each in played)
    _tell(f"{driver:15} {inputs:9,} inputs  {inputs / max(seconds, 1e-9):7,.0f}/s a process\n")
    outcomes: Counter[str] = sum((each.outcomes for each in played), Counter())
    for outcome, times in outcomes.most_common():
        _tell(f"{times:12,}  {outcome}\n")


def _tell(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def _again(path: Path) -> None:
    with capture_logs() as logs:
        await replay(load(path), logs)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs over all drivers")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="the same gives the same")
    parser.add_argument("--driver", action="append", choices=DRIVERS, help="all, if not given")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="for what breaks")
    parser.add_argument("--replay", type=Path, help="feed a saved episode again, with a traceback")
    given = parser.parse_args()
    if given.replay:
        asyncio.run(_again(given.replay))
        _tell("nothing broke\n")
        return 0
    _tell(f"seed {given.seed}, {given.processes} processes\n")
    start = time.perf_counter()
    work = list(chunks(given.driver or DRIVERS, given.count, given.seed, given.folder))
    status = run(work, given.processes)
    _tell(f"{time.perf_counter() - start:,.0f} s, seed {given.seed}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
