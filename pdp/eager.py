"""Coroutines that begin where they are called: an answer that is known at once needs no task."""

from collections.abc import Coroutine, Generator
from typing import Any, Final, TypeVar

T = TypeVar("T")


def run_now(flow: Coroutine[Any, Any, T]) -> "T | Rest[T]":
    """Run a coroutine until it waits for the first time.

    Returns its answer if it never waits, else the rest of it, to be awaited once. What
    it raises before it waits is raised here. Up to there it is in no task of its own:
    `asyncio.timeout` and `asyncio.current_task` have no meaning in it.
    """
    try:
        first = flow.send(None)
    except StopIteration as done:
        answer: T = done.value
        return answer
    return Rest(flow, first)


_TAKEN: Final = object()


class Rest(Generator[Any, Any, T]):
    """A coroutine that waits, and what it waits for: to be awaited, or made a task.

    Cancellation and exceptions reach the coroutine where it waits; so does the end of a
    rest that nobody awaits: what it has under `finally` is done.
    """

    __slots__ = ("_first", "_flow")

    def __init__(self, flow: Coroutine[Any, Any, T], first: Any) -> None:
        self._flow = flow
        self._first = first

    def __await__(self) -> Generator[Any, Any, T]:
        return self

    def send(self, value: Any) -> Any:
        """Hand over what the coroutine waits for; from then on, wake it up."""
        first, self._first = self._first, _TAKEN
        return self._flow.send(value) if first is _TAKEN else first

    def throw(self, *error: Any) -> Any:
        """Raise an exception where the coroutine waits: it waits for that no longer."""
        self._first = _TAKEN
        try:
            return self._flow.throw(*error)
        finally:
            # Its traceback has this frame: in a circle they, and the request that they hold,
            # would wait for the collector.
            del error

    def close(self) -> None:
        """End the coroutine where it waits."""
        self._flow.close()
