"""Flows that have to wait go side by side; those of one name, and too many, do not."""

import asyncio
from functools import partial

import pytest

from pdp.serve.abreast import Abreast, Room


class Desk:
    """Flows by name, each of which ends when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def flow(self, name: str, *, waits: bool = True) -> None:
        self.begun.append(name)
        if waits:
            await self._ends.setdefault(name, asyncio.Event()).wait()
        self.ended.append(name)

    def end(self, name: str) -> None:
        self._ends[name].set()


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_need_not_wait_is_done_at_once(desk: Desk) -> None:
    abreast = Abreast(Room(), 1)
    for name in "abc":
        await abreast.begin(partial(desk.flow, name, waits=False), "same")
    assert desk.ended == ["a", "b", "c"]
    await abreast.done()


async def test_what_says_that_it_is_done_is_no_flow(desk: Desk) -> None:
    abreast = Abreast(Room(), 1)
    await abreast.begin(lambda: desk.ended.append("a"), "same")
    await abreast.begin(partial(desk.flow, "b"), "same")
    after = asyncio.ensure_future(abreast.begin(lambda: desk.ended.append("c"), "same"))
    await turns()
    assert desk.ended == ["a"], "the third has the second's name"
    desk.end("b")
    await after
    assert desk.ended == ["a", "b", "c"]


async def test_what_waits_goes_side_by_side_as_far_as_there_is_room(desk: Desk) -> None:
    abreast = Abreast(Room(), 2)
    await abreast.begin(lambda: desk.flow("a"), "", "a")
    await abreast.begin(lambda: desk.flow("b"), "", "b")
    third = asyncio.ensure_future(abreast.begin(lambda: desk.flow("c"), "", "c"))
    await turns()
    assert desk.begun == ["a", "b"]
    desk.end("b")
    await third
    assert (desk.begun, desk.ended) == (["a", "b", "c"], ["b"])
    done = asyncio.create_task(abreast.done())
    await turns()
    assert not done.done()
    desk.end("a")
    desk.end("c")
    await done
    assert sorted(desk.ended) == ["a", "b", "c"]


async def test_those_of_one_name_are_done_one_after_another(desk: Desk) -> None:
    abreast = Abreast(Room())
    await abreast.begin(lambda: desk.flow("a"), "res", "req")
    second = asyncio.ensure_future(abreast.begin(lambda: desk.flow("b"), "", "req"))
    await turns()
    assert desk.begun == ["a"]
    desk.end("a")
    await second
    desk.end("b")
    await abreast.done()
    assert desk.ended == ["a", "b"]
    await abreast.begin(lambda: desk.flow("c"), "res")
    assert desk.begun == ["a", "b", "c"], "its name is free again"


async def test_whoever_gives_up_leaves_what_has_begun_to_its_end(desk: Desk) -> None:
    abreast = Abreast(Room(), 1)
    await abreast.begin(lambda: desk.flow("a"))
    waiting = asyncio.ensure_future(abreast.begin(lambda: desk.flow("b")))
    await turns()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    desk.end("a")
    await abreast.done()
    assert (desk.begun, desk.ended) == (["a"], ["a"])


async def test_in_a_full_room_each_has_one_at_a_time(desk: Desk) -> None:
    room = Room(2)
    one, other = Abreast(room), Abreast(room)
    await one.begin(lambda: desk.flow("a"))
    await one.begin(lambda: desk.flow("b"))
    third = asyncio.ensure_future(one.begin(lambda: desk.flow("c")))
    await other.begin(lambda: desk.flow("d"))
    await turns()
    assert desk.begun == ["a", "b", "d"]
    desk.end("a")
    desk.end("d")
    await third
    assert desk.begun == ["a", "b", "d", "c"]
    desk.end("b")
    desk.end("c")
    await one.done()
    await other.done()
    assert room.taken == 0


async def test_what_is_broken_off_has_ended(desk: Desk) -> None:
    room = Room()
    abreast = Abreast(room)
    for name in "ab":
        await abreast.begin(partial(desk.flow, name))
    await abreast.break_off()
    assert (desk.begun, desk.ended, room.taken) == (["a", "b"], [], 0)
