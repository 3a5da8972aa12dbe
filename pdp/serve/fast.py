"""The native transport's short way: calls that are answered at once, a batch at a time.

The library makes a task for each call; an answer that nobody waits for needs none. Here
the calls that came in together are decided one after another, their records go to the
spool in one write, and then they are answered.

A handler offers the short way by an attribute `at_once` of its behavior, a `Shortcut`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any

import grpc
import pygrpc_native.aio
import structlog
from pygrpc_native import aio as native
from pygrpc_native._native import EVENT_CALL

from pdp.serve.logs import log_defect
from pdp.serve.rpc import Answer, Shortcut, settled

_log = structlog.get_logger(__name__)

_INTERNAL: int = grpc.StatusCode.INTERNAL.value[0]


class FastServer(pygrpc_native.aio.Server):
    """`bracket` sets what is called before and after each batch."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._shortcuts: list[Shortcut | None] | None = None
        self._undoing: set[asyncio.Task[None]] = set()
        self._begin: Callable[[], None] = _nothing
        self._end: Callable[[], None] = _nothing

    def bracket(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        """Call `begin` before the calls of a batch are decided, `end` before they are answered."""
        self._begin, self._end = begin, end

    def _on_events(self, events: list[tuple[Any, ...]]) -> None:
        shortcuts = self._shortcuts
        if shortcuts is None:
            shortcuts = self._shortcuts = [
                getattr(handler.unary_unary, "at_once", None) for _, handler in self._table
            ]
        others: list[tuple[Any, ...]] = []
        answered: list[tuple[int, bytes, Answer, Shortcut, int]] = []
        self._begin()
        try:
            for event in events:
                shortcut = shortcuts[event[2]] if event[0] == EVENT_CALL else None
                if shortcut is None or self._stopping or not self._tried(event, shortcut, answered):
                    others.append(event)
        finally:
            self._end()
        front = self._front
        assert front is not None
        for call_id, data, answer, shortcut, start in answered:
            if not front.respond(call_id, data) and answer.undo is not None:
                self._finish(answer.undo())
            shortcut.stats.done("OK", start)
        if others:
            super()._on_events(others)

    def _tried(self, event: tuple[Any, ...], shortcut: Shortcut, answered: list[Any]) -> bool:
        """Take the short way; a defect on it fails its own call, and no other of the batch."""
        limit = self._receive_limit
        if limit is not None and len(event[3]) > limit:
            return False
        try:
            return self._short(event, shortcut, answered)
        except Exception as error:
            log_defect(_log, "a call failed", error)
            assert self._front is not None
            self._front.fail(event[1], _INTERNAL, "the call failed: try again")
            return True

    def _short(self, event: tuple[Any, ...], shortcut: Shortcut, answered: list[Any]) -> bool:
        """Answer a call, or begin to; False to take the long way, where errors are told."""
        start = perf_counter_ns()
        try:
            request = shortcut.deserialize(event[3])
        except Exception:
            return False  # The long way meets it again, and says it as it should.
        answer = shortcut.answer(request)
        if isinstance(answer, Answer):
            shortcut.stats.started += 1
            answered.append((event[1], shortcut.serialize(answer.message), answer, shortcut, start))
            return True
        if answer is None:
            return False
        shortcut.stats.started += 1
        method, handler = self._table[event[2]]
        # The library's own, so that its cancellations and its stop find the task.
        call = native._Call(event[1], method, handler, *event[5])  # noqa: SLF001
        self._calls[event[1]] = call
        call.task = asyncio.ensure_future(self._later(event[1], answer, shortcut, start))
        return True

    def _finish(self, undone: Any) -> None:
        if isinstance(undone, Awaitable):
            task = asyncio.ensure_future(settled(undone))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)

    async def _later(
        self, call_id: int, waiting: Awaitable[Answer], shortcut: Shortcut, start: int
    ) -> None:
        code = "Canceled"
        try:
            answer = await waiting
            code = "OK"
            front = self._front
            assert front is not None
            data = shortcut.serialize(answer.message)
            if not front.respond(call_id, data) and answer.undo is not None:
                await settled(answer.undo())
        finally:
            self._calls.pop(call_id, None)
            shortcut.stats.done(code, start)


def _nothing() -> None:
    pass
