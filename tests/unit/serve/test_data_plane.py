"""The order in which a data plane starts and stops, with parts that only tell of it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pdp.errors import StartRefused
from pdp.serve import data_plane
from pdp.serve.load import Load
from tests.stack import eventually_async

OLD_COPY = StartRefused("the spool is an old copy")


class Shipper:
    """Asks when the test says so."""

    def __init__(self) -> None:
        self.placed = asyncio.Event()
        self.refuse = asyncio.Event()
        self.backlog = 0

    async def run(self) -> None:
        await self.refuse.wait()
        raise OLD_COPY

    async def drain(self) -> None:
        raise OLD_COPY


class Stage:
    """Parts of a data plane, and what they were told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.shipper = Shipper()
        self.parts: Any = SimpleNamespace(
            server=SimpleNamespace(start=self.says("serve"), stop=self.says("serve no more")),
            nginx=SimpleNamespace(
                watch=self.runs("nginx"),
                start=self.says("serve nginx"),
                stop=self.says("nginx closed"),
            ),
            health=SimpleNamespace(set=self.says("health")),
            ops=SimpleNamespace(start=lambda: None, stop=self.says("ops closed")),
            control=SimpleNamespace(close=self.says("control closed")),
            watch=SimpleNamespace(run=self.runs("watch"), ready=asyncio.Event()),
            engine=SimpleNamespace(expire=self.says("expire", 0)),
            sink=SimpleNamespace(pay=self.says("pay"), sync_forever=self.runs("sync")),
            shipper=self.shipper,
            keeper=SimpleNamespace(
                sync=self.says("sync"), keep=self.says("keep"), close=self.closes
            ),
            load=Load(),
            inflows=(SimpleNamespace(run=self.runs("take lines"), finish=self.says("last lines")),),
            tender=None,
            leftovers=(),
            open_port=None,
        )

    def says(self, what: str, answer: Any = None) -> Any:
        async def say(*_: Any) -> Any:
            self.told.append(what)
            return answer

        return say

    def runs(self, what: str) -> Any:
        async def run() -> None:
            self.told.append(what)
            await asyncio.Event().wait()

        return run

    def closes(self) -> None:
        self.told.append("spool closed")

    async def has(self, what: str) -> bool:
        return what in self.told


def _run(stage: Stage, stop: asyncio.Event) -> "asyncio.Task[None]":
    return asyncio.create_task(data_plane.run(stage.parts, stop, lambda: None))


async def test_an_old_copy_never_serves_and_all_is_closed() -> None:
    stage = Stage()
    running = _run(stage, asyncio.Event())
    stage.shipper.refuse.set()
    with pytest.raises(StartRefused, match="old copy"):
        await running
    assert "serve" not in stage.told
    assert "watch" not in stage.told
    assert {"spool closed", "ops closed", "control closed"} <= set(stage.told)


async def test_without_an_answer_it_serves_but_learns_no_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(data_plane, "_PLACE_DEADLINE", 0)
    stage, stop = Stage(), asyncio.Event()
    running = _run(stage, stop)
    await eventually_async(lambda: stage.has("serve"), "it serves", 5)
    assert "watch" not in stage.told
    stage.shipper.placed.set()
    await eventually_async(lambda: stage.has("watch"), "it learns keys", 5)
    stop.set()
    await running
    assert {"spool closed", "ops closed", "control closed"} <= set(stage.told)


async def test_lines_are_taken_while_it_serves_and_the_last_ones_before_the_spool_is_shipped() -> (
    None
):
    stage, stop = Stage(), asyncio.Event()
    running = _run(stage, stop)
    stage.shipper.placed.set()
    await eventually_async(lambda: stage.has("take lines"), "it takes lines", 5)
    stop.set()
    await running
    order = ("serve", "take lines", "serve no more", "last lines", "pay", "spool closed")
    assert [each for each in stage.told if each in order] == list(order)


async def test_a_spool_that_cannot_be_shipped_does_not_keep_the_next_from_it() -> None:
    stage, stop = Stage(), asyncio.Event()
    stage.parts.leftovers = (stage.runs("refused for ever"), stage.says("shipped"))
    running = _run(stage, stop)
    await eventually_async(lambda: stage.has("shipped"), "the second is shipped", 5)
    stop.set()
    await running
