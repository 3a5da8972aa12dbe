"""Episodes: a new data plane, then some dozens of inputs, each checked, all kept for a replay."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from tests.fuzz.entry_access_log import feed_access_log
from tests.fuzz.entry_authorization import feed_authorization
from tests.fuzz.entry_check import feed_check, feed_report
from tests.fuzz.entry_nginx import feed_nginx, make_nginx, make_nginx_form
from tests.fuzz.entry_usage_lines import feed_usage_lines
from tests.fuzz.make import (
    KEYS,
    make_access_log,
    make_authorization,
    make_check,
    make_form_authorization,
    make_plain,
    make_report,
)
from tests.fuzz.make_usage_lines import make_usage_lines
from tests.fuzz.oracle import expect
from tests.fuzz.world import SECOND, Step, World

STEPS: Final = 50
"""Inputs of an episode: enough for the limits to be reached."""

_NEED_PERMISSIONS: Final = ("report", "access_log", "usage_lines")


class Entry(Struct, frozen=True):
    """One entry point: how input for it is made, and who feeds and checks it."""

    make: Callable[[Random, World], bytes]
    feed: Callable[[World, Step], Awaitable[str]]


ENTRIES: Final = {
    "ext_authz": Entry(make_authorization, feed_authorization),
    "ext_authz_forms": Entry(make_form_authorization, feed_authorization),
    "nginx": Entry(make_nginx, feed_nginx),
    "nginx_forms": Entry(make_nginx_form, feed_nginx),
    "usage_lines": Entry(make_usage_lines, feed_usage_lines),
    "check": Entry(make_check, feed_check),
    "report": Entry(make_report, feed_report),
    "access_log": Entry(make_access_log, feed_access_log),
}

DRIVERS: Final = (*ENTRIES, "mixed")
"""A driver feeds one entry point, or all of one data plane in turns."""


class Episode(Struct, frozen=True):
    """What to do again to see the same: JSON on disk."""

    driver: str
    seed: str
    trusted_hops: int
    steps: list[Step]
    violation: str = ""


class Broken(Exception):
    """An input broke an invariant; the episode ends with it."""

    def __init__(self, episode: Episode) -> None:
        super().__init__(episode.violation)
        self.episode = episode

    def save(self, folder: Path) -> Path:
        """Write the episode down and return where."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.episode.driver}-{self.episode.seed.replace(' ', '-')}.json"
        path.write_bytes(msgspec.json.encode(self.episode))
        return path


def load(path: Path) -> Episode:
    return msgspec.json.decode(path.read_bytes(), type=Episode)


async def play(driver: str, seed: str, logs: list[Any], count: int = STEPS) -> Counter[str]:
    """Make and feed the inputs of one episode; return outcomes by entry. Raises `Broken`.

    `logs` is the list of `structlog.testing.capture_logs`.
    """
    rng = Random(seed)
    hops = int(rng.random() < 0.3)
    world = World(logs, hops)
    world.favourite = rng.choice((*("tight",) * 8, "thrifty", *KEYS))
    steps: list[Step] = []
    outcomes: Counter[str] = Counter()
    try:
        for number in range(count):
            name = rng.choice(tuple(ENTRIES)) if driver == "mixed" else driver
            if driver in _NEED_PERMISSIONS and (number == 0 or rng.random() < 0.25):
                for _ in range(rng.choice((1, 5))):
                    steps.append(Step("ext_authz", make_plain(rng, world)))
                    await take(world, steps[-1])
            steps.append(_step(rng, name, world, steps))
            outcomes[f"{name}: {await take(world, steps[-1])}"] += 1
        world.check_replay()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise Broken(Episode(driver, seed, hops, steps, what)) from error
    return outcomes


async def replay(episode: Episode, logs: list[Any]) -> None:
    """Feed an episode again. What it breaks is raised as it is."""
    world = World(logs, episode.trusted_hops)
    for step in episode.steps:
        await take(world, step)
    world.check_replay()


async def take(world: World, step: Step) -> str:
    """Feed one input and check everything; return what came of it. Raises `Violation`."""
    world.directory.down = step.down
    world.desk.load.shedding = step.shedding
    if step.wait:
        await world.wait(step.wait)
    world.logs.clear()
    outcome = await ENTRIES[step.entry].feed(world, step)
    world.check_books()
    for event in world.logs:
        expect("failed" not in event["event"], f"a defect: {event}")
    return outcome


def _step(rng: Random, name: str, world: World, before: list[Step]) -> Step:
    if rng.random() < 0.05 and before and before[-1].entry == name:
        return Step(name, before[-1].data)  # Some senders say everything twice.
    data = ENTRIES[name].make(rng, world)
    if rng.random() < 0.8:
        return Step(name, data)
    return Step(
        name,
        data,
        wait=rng.choice(_WAITS),
        down=rng.random() < 0.1,
        gone=rng.random() < 0.3,
        shedding=rng.random() < 0.02,
    )


_WAITS: Final = (
    *(0, 1, SECOND // 3, SECOND, 20 * SECOND) * 4,
    *(301 * SECOND, 900 * SECOND) * 2,
    50 * 3600 * SECOND,  # Too late for the correction of what has expired.
)
