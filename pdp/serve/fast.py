"""The native transport's short way: calls that are answered at once, a batch at a time.

The library makes a task for each call; an answer that nobody waits for needs none. Here
the calls that came in together, or whose answers did, are decided one after another, their
records go to the spool in one write, and then they are answered. A defect fails its own call
and no other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import grpc
import structlog

from pdp.serve.logs import log_defect
from pdp.serve.native import CALL, Event, NativeServer
from pdp.serve.rpc import Answer, Shortcut, presents
from pdp.serve.turn import Turn

_log = structlog.get_logger(__name__)

_INTERNAL: int = grpc.StatusCode.INTERNAL.value[0]

_LATE: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
_SECOND = 1_000_000_000
_NEVER = 1 << 63

_Decided = tuple[int, Answer, Shortcut, int, int]
"""(call id, its answer, how it is sent, when it began, when nobody waits any more)."""


class FastServer(NativeServer):
    """A server with short ways; `turn` is what its calls are decided in."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._by_path: dict[str, Shortcut] = {}
        self._by_id: list[Shortcut | None] = []
        self._undoing: set[asyncio.Task[None]] = set()
        self._decided: list[_Decided] = []
        self.take_turns(Turn())

    def add_shortcut(self, path: str, shortcut: Shortcut) -> None:
        """Answer the calls of a method (`/service/Method`) the short way, from the start on."""
        self._by_path[path] = shortcut

    def take_turns(self, turn: Turn) -> None:
        """Decide calls in `turn`; those that wait are answered in the turns of others."""
        self._turn = turn
        turn.answer = self._answer_decided

    async def start(self) -> None:
        """Take calls."""
        await super().start()
        self._by_id = [self._by_path.get(path) for path in self.paths]

    def on_events(self, events: list[Event], received: int) -> None:
        """Decide what can be decided at once, answer that, and pass the rest on."""
        with self._turn:
            others = [event for event in events if not self._takes(event, received)]
        if others:
            super().on_events(others, received)

    def _answer_decided(self) -> None:
        decided, self._decided = self._decided, []
        for each in decided:
            self._respond(*each)

    def _takes(self, event: Event, received: int) -> bool:
        """Decide a call, or begin to; False to leave it to the long way, where errors are told."""
        kind, call_id, method_id, payload, _, details = event
        shortcut = self._by_id[method_id] if kind == CALL else None
        if shortcut is None or self.stopping or not self._is_fit(payload, details[0], shortcut):
            return False
        start = perf_counter_ns()
        remaining = details[2]
        end = _NEVER if remaining is None else received + int(remaining * _SECOND)
        if start > end:  # The loop has stood still, and its cancellation may be on its way.
            self.front.fail(call_id, _LATE, "it came too late to be decided: try again")
            shortcut.stats.started += 1
            shortcut.stats.done("DeadlineExceeded", start)
            return True
        try:
            request = shortcut.deserialize(payload)
        except Exception:
            return False  # The long way meets it again, and says it as it should.
        try:
            answer = shortcut.answer(request)
        except Exception as error:
            shortcut.stats.started += 1
            shortcut.stats.done(self._broke(call_id, error), start)
            return True
        if answer is None:
            return False
        shortcut.stats.started += 1
        if isinstance(answer, Answer):
            self._decided.append((call_id, answer, shortcut, start, end))
        else:
            work = self._later(call_id, answer, shortcut, start, end)
            cancelled = partial(shortcut.stats.done, "Canceled", start)
            self.spawn(call_id, method_id, details, work, cancelled)
        return True

    def _is_fit(self, payload: bytes, metadata: Any, shortcut: Shortcut) -> bool:
        limit = self.receive_limit
        return (limit is None or len(payload) <= limit) and (
            shortcut.token is None or presents(metadata, shortcut.token)
        )

    async def _later(
        self, call_id: int, waiting: Awaitable[Answer], shortcut: Shortcut, start: int, end: int
    ) -> None:
        try:
            answer = await waiting
        except Exception as error:
            shortcut.stats.done(self._broke(call_id, error), start)
            return
        if self._turn.is_open:
            self._decided.append((call_id, answer, shortcut, start, end))
        else:
            self._respond(call_id, answer, shortcut, start, end)

    def _respond(
        self, call_id: int, answer: Answer, shortcut: Shortcut, start: int, end: int
    ) -> None:
        code, arrives = "OK", False
        try:
            arrives = self.front.respond(call_id, shortcut.serialize(answer.message))
        except Exception as error:
            code = self._broke(call_id, error)
        if answer.undo is not None and (answer.void or not arrives or perf_counter_ns() > end):
            self._undo(answer.undo)
        shortcut.stats.done(code, start)

    def _broke(self, call_id: int, error: Exception) -> str:
        """End a call that met a defect; return its status code as metrics write it."""
        log_defect(_log, "a call failed", error)
        self.front.fail(call_id, _INTERNAL, "the call failed: try again")
        return "Internal"

    def _undo(self, undo: Callable[[], Any]) -> None:
        try:
            undone = undo()
        except Exception as error:
            log_defect(_log, "a permission was not taken back", error)
            return
        if isinstance(undone, Awaitable):
            task = asyncio.ensure_future(_undone(undone))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)


async def _undone(waiting: Awaitable[Any]) -> None:
    try:
        await waiting
    except Exception as error:
        log_defect(_log, "a permission was not taken back", error)
