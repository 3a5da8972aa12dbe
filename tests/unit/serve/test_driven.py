"""A call that waits for slots goes on where they are filled, and ends as a task would."""

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from pdp.serve.driven import Driven
from pdp.slot import Slot


class Call:
    """A call, what it has come to, and how it ended."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.ended: list[bool] = []

    def run(self, flow: Coroutine[Any, Any, None]) -> Driven:
        driven = Driven(flow, self.ended.append)
        driven.start()
        return driven

    async def wait(self, *slots: "asyncio.Future[str]") -> None:
        for slot in slots:
            try:
                self.seen.append(await slot)
            except RuntimeError as error:
                self.seen.append(error)


@pytest.fixture
def call() -> Call:
    return Call()


def fill(slot: Slot[str], text: str) -> None:
    slot.set_result(text)
    slot.awaken()


async def test_it_goes_on_where_its_slots_are_filled(call: Call) -> None:
    first, second = Slot[str](), Slot[str]()
    driven = call.run(call.wait(first, second))
    assert not call.seen
    fill(first, "one")
    assert (call.seen, call.ended) == (["one"], [])
    fill(second, "two")
    assert (call.seen, call.ended) == (["one", "two"], [False])
    assert driven.done()
    await driven
    assert not driven.cancel()


async def test_a_slot_that_fails_fails_its_waiter(call: Call) -> None:
    slot, why = Slot[str](), RuntimeError("away")
    call.run(call.wait(slot))
    slot.set_exception(why)
    slot.awaken()
    assert (call.seen, call.ended) == ([why], [False])


async def test_what_waits_for_something_else_goes_on_in_a_task(call: Call) -> None:
    slot, other = Slot[str](), asyncio.get_running_loop().create_future()
    driven = call.run(call.wait(slot, other))
    fill(slot, "one")
    other.set_result("two")
    assert (call.seen, call.ended) == (["one"], [])
    await driven
    assert (call.seen, call.ended) == (["one", "two"], [False])


async def test_what_never_waits_is_over_at_once(call: Call) -> None:
    assert call.run(call.wait()).done()
    assert call.ended == [False]


async def test_a_task_waits_for_a_slot_as_for_any_future(call: Call) -> None:
    slot = Slot[str]()
    task = asyncio.create_task(call.wait(slot))
    await asyncio.sleep(0)
    fill(slot, "one")
    assert not call.seen
    await task
    assert call.seen == ["one"]


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_it_is_cancelled_where_it_waits(call: Call, in_a_task: bool) -> None:
    waits_for: asyncio.Future[str] = asyncio.Future() if in_a_task else Slot[str]()

    async def flow() -> None:
        try:
            await waits_for
        except asyncio.CancelledError:
            call.seen.append("cancelled")
            raise

    driven = call.run(flow())
    await asyncio.sleep(0)
    assert driven.cancel()
    await asyncio.wait((driven,))
    assert driven.cancelled()
    assert waits_for.cancelled()
    assert (call.seen, call.ended) == (["cancelled"], [True])


async def test_one_that_is_cancelled_may_clear_up(call: Call) -> None:
    async def flow() -> None:
        try:
            await Slot[str]()
        finally:
            await asyncio.sleep(0)
            call.seen.append("cleared")

    driven = call.run(flow())
    driven.cancel()
    assert not call.ended
    await asyncio.wait((driven,))
    assert (driven.cancelled(), call.seen, call.ended) == (True, ["cleared"], [True])


async def test_whoever_cancels_the_slot_cancels_its_waiter(call: Call) -> None:
    slot = Slot[str]()
    driven = call.run(call.wait(slot))
    slot.cancel()
    slot.awaken()
    assert driven.cancelled()
    assert call.ended == [True]


async def test_it_is_cancelled_before_its_task_has_begun(call: Call) -> None:
    async def flow() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            call.seen.append("cleared")
            raise

    driven = call.run(flow())
    driven.cancel()
    await asyncio.wait((driven,))
    assert (call.seen, call.ended) == (["cleared"], [True])


async def test_one_that_clears_up_for_long_is_cancelled_again(call: Call) -> None:
    async def flow() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(30)

    driven = call.run(flow())
    for _ in range(2):
        await asyncio.sleep(0)
        assert driven.cancel()
    await asyncio.wait((driven,), timeout=20)
    assert driven.cancelled()


async def test_a_defect_of_one_is_not_met_by_who_has_others_to_wake(call: Call) -> None:
    slot, why = Slot[str](), BaseException("of pdp_live_secret")

    async def flow() -> None:
        await slot
        raise why

    driven = call.run(flow())
    with capture_logs() as logs:
        fill(slot, "one")
    assert [(each["event"], each["error"]) for each in logs] == [("a call failed", "BaseException")]
    assert "pdp_live_secret" not in str(logs), "its message may hold a request"
    assert (driven.done(), call.ended) == (True, [False])


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_nothing_of_it_waits_for_the_collector(call: Call, is_cancelled: bool) -> None:
    slot = Slot[str]()
    driven = call.run(call.wait(slot))
    gone = weakref.ref(driven)
    gc.disable()
    try:
        if is_cancelled:
            driven.cancel()
        else:
            fill(slot, "one")
        del driven, slot
        assert gone() is None
    finally:
        gc.enable()
