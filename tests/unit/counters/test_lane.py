"""Whoever asks a lane has an answer, also when calls end together or break."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from pdp.counters.redis import asks
from pdp.counters.redis.away import Away
from pdp.counters.redis.lane import MOST_OPS, Lane
from pdp.serve.driven import Driven
from tests.counting import Fleet, Plane
from tests.redis import RedisServer
from tests.stack import eventually_async

LOOK = asks.locate("res_1.root", "", "")


@pytest.fixture
async def plane(redis: RedisServer) -> AsyncIterator[Plane]:
    redis.flush()
    fleet = Fleet(redis)
    plane = fleet.plane()
    await fleet.world(plane).check(0)  # Joined.
    yield plane
    await plane.close()


def between(lane: Lane, change: Callable[[Any], Any]) -> asyncio.Event:
    """Let what Redis answers arrive changed, and once the event that is returned is set."""
    run, arrives = lane._script.run_script, asyncio.Event()

    class Script:
        async def run_script(self, *arguments: Any, **options: Any) -> Any:
            found = await run(*arguments, **options)
            await arrives.wait()
            return change(found)

    lane._script = Script()  # type: ignore[assignment]
    return arrives


async def test_who_asks_as_the_last_calls_end_is_not_forgotten(plane: Plane) -> None:
    lane = plane.roots.lane("root")

    async def twice() -> None:
        await lane.ask(LOOK, 0)
        await lane.ask(LOOK, 0)

    arrive = between(lane, lambda found: found)
    first = asyncio.create_task(twice())
    rest = [asyncio.create_task(lane.ask(LOOK, 0)) for _ in range(2 * MOST_OPS - 1)]
    calls = sum(plane.stats.calls.values()) + 2

    async def both_are_back() -> bool:
        return sum(plane.stats.calls.values()) == calls

    await eventually_async(both_are_back, "both calls are back")
    arrive.set()  # Both calls end in one turn of the loop.
    async with asyncio.timeout(30):
        await asyncio.gather(first, *rest)


def _break(_found: Any) -> Any:
    raise RuntimeError("a defect of the client")


@pytest.mark.parametrize("change", [_break, lambda found: [*found[:3], found[3][:-1], found[4]]])
async def test_a_call_that_breaks_is_told_to_all_who_wait(
    plane: Plane, change: Callable[[Any], Any]
) -> None:
    lane, told = plane.roots.lane("root"), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    between(lane, change).set()
    asked = [lane.ask(LOOK, 0) for _ in range(2 * MOST_OPS + 1)]
    async with asyncio.timeout(30):
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(each) for each in found} == {"what Redis has answered cannot be read: try again"}
    assert all(isinstance(each, Away) and each.maybe_done for each in found)
    assert len(told) == 3, "one for each call"


class Held:
    """Something that a caller has in hand."""


def _away(_found: Any) -> Any:
    raise Away("Redis does not answer")


async def test_nothing_of_who_is_told_of_trouble_waits_for_the_collector(plane: Plane) -> None:
    lane = plane.roots.lane("root")
    between(lane, _away).set()
    failed: list[bool] = []

    async def ask(_: Held) -> None:
        try:
            await lane.ask(LOOK, 0)
        except Away as error:
            failed.append(error.maybe_done)

    def flows() -> Iterator[weakref.ref[Held]]:
        for _ in range(3 * MOST_OPS):
            held = Held()
            Driven(ask(held), lambda _: None).start()
            yield weakref.ref(held)

    async def all_are_told() -> bool:
        return len(failed) == 3 * MOST_OPS

    gc.disable()
    try:
        held = list(flows())
        await eventually_async(all_are_told, "all are told")
        await asyncio.sleep(0)  # The one who has told them ends.
        assert [each() for each in held] == [None] * len(held)
    finally:
        gc.enable()
