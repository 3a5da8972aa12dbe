"""Coroutines that begin where they are called."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from typing import Any

import pytest

from pdp.eager import Rest, run_now


class Trail(list[str]):
    """A flow that waits twice, and what it met."""

    async def walk(self, first: Awaitable[Any], then: Awaitable[Any] | None = None) -> str:
        try:
            self.append("begun")
            self.append(str(await first))
            if then is not None:
                self.append(str(await then))
        except (asyncio.CancelledError, KeyError) as error:
            self.append(type(error).__name__)
            raise
        finally:
            self.append("ended")
        return "done"


def rest_of(trail: Trail, *waits: Awaitable[Any]) -> Rest[str]:
    rest = run_now(trail.walk(*waits))
    assert isinstance(rest, Rest)
    assert trail == ["begun"]
    return rest


async def test_what_does_not_wait_is_answered_at_once() -> None:
    async def flow() -> int:
        return 7

    assert run_now(flow()) == 7


async def test_what_is_raised_at_once_is_raised_here() -> None:
    async def flow() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_now(flow())


async def test_what_waits_goes_on_where_it_is_awaited() -> None:
    trail = Trail()
    first: asyncio.Future[str] = asyncio.Future()
    rest = rest_of(trail, first, asyncio.sleep(0, "slept"))
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    assert trail == ["begun"]
    first.set_result("woken")
    assert await task == "done"
    assert trail == ["begun", "woken", "slept", "ended"]


async def test_a_wait_that_is_over_before_anybody_awaits_is_no_wait() -> None:
    trail = Trail()
    first: asyncio.Future[str] = asyncio.Future()
    rest = rest_of(trail, first)
    first.set_result("woken")
    assert await rest == "done"


async def test_an_exception_reaches_the_flow_and_then_who_awaits() -> None:
    for then in ((), (asyncio.sleep(0),)):
        trail = Trail()
        first: asyncio.Future[str] = asyncio.Future()
        rest = rest_of(trail, first, *then)
        first.set_exception(KeyError("x"))
        with pytest.raises(KeyError):
            await rest
        assert trail == ["begun", "KeyError", "ended"]
        for each in then:
            each.close()


@pytest.mark.parametrize("waits", [1, 2])
async def test_a_cancellation_reaches_the_flow_where_it_waits(waits: int) -> None:
    trail = Trail()
    futures: list[asyncio.Future[str]] = [asyncio.Future() for _ in range(2)]
    task = asyncio.ensure_future(rest_of(trail, *futures))
    if waits == 2:
        futures[0].set_result("woken")
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert trail[waits:] == ["CancelledError", "ended"]
    assert futures[waits - 1].cancelled()


async def test_a_flow_may_wait_when_it_is_cancelled() -> None:
    async def flow() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "tidied"
        raise AssertionError

    rest = run_now(flow())
    assert isinstance(rest, Rest)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "tidied"


async def test_a_rest_that_nobody_awaits_ends() -> None:
    trail = Trail()
    rest = rest_of(trail, asyncio.Future())
    rest.close()
    assert trail == ["begun", "ended"]
    trail = Trail()
    rest_of(trail, asyncio.Future())
    gc.collect()
    assert trail == ["begun", "ended"]


async def test_a_task_that_is_cancelled_before_it_begins_ends_the_flow() -> None:
    trail = Trail()

    async def later(rest: Rest[str]) -> str:
        return await rest

    task = asyncio.ensure_future(later(rest_of(trail, asyncio.Future())))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()
    assert trail == ["begun", "ended"]


async def test_a_rest_is_awaited_once() -> None:
    trail = Trail()
    rest = rest_of(trail, asyncio.sleep(0))
    assert await rest == "done"
    with pytest.raises(RuntimeError):
        await rest


class Held:
    """Something that a flow has in hand."""


async def test_nothing_of_a_rest_that_was_cancelled_waits_for_the_collector() -> None:
    async def flow(held: Held) -> None:
        await asyncio.Future()

    held = Held()
    gone, rest = weakref.ref(held), run_now(flow(held))
    assert isinstance(rest, Rest)
    task = asyncio.ensure_future(rest)
    await asyncio.sleep(0)
    gc.disable()
    try:
        task.cancel()
        await asyncio.wait([task])
        del held, rest, task
        assert gone() is None
    finally:
        gc.enable()
