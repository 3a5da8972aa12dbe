"""What comes in a row, done side by side where each has to wait."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Final

from pdp.eager import Rest, run_now

MOST: Final = 64
"""At a time, for one sender: two calls of Redis, so that the next is asked for meanwhile."""

MOST_OF_ALL: Final = 256
"""At a time, for all senders: Checks wait behind them, and Redis is asked only so much."""

Flow = Callable[[], Coroutine[Any, Any, None] | None]
"""Does what need not wait, and returns what has to; None: nothing has."""


class _Nothing:
    """What is waited for where nothing is to be waited for."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


_NOTHING: Final = _Nothing()


class Room:
    """What senders have together. In a full one each has one flow at a time."""

    def __init__(self, most: int = MOST_OF_ALL) -> None:
        self._most = most
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Tell whether as many flows wait as should."""
        return self.taken >= self._most


class Abreast:
    """Runs the flows of one sender, `most` at a time: to report a usage is to wait twice.

    Each begins where it is handed over, in its turn; what need not wait is done there. Those
    that share a name are done one after another. A flow tells its errors itself. Who is
    cancelled while he waits here leaves what has begun to come to its end.
    """

    def __init__(self, room: Room, most: int = MOST) -> None:
        self._room = room
        self._most = most
        self._names: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, flow: Flow, *names: str) -> Awaitable[None]:
        """Run a flow, beside what comes next if it has to wait; empty names are nobody's.

        Where none waits it is run here; what is returned is to be awaited in any case.
        """
        if self._tasks:
            return self._begin_later(flow, names)
        self._begin(flow, names)
        return _NOTHING

    async def _begin_later(self, flow: Flow, names: Sequence[str]) -> None:
        if not self._names.isdisjoint(names):
            await self.done()
        while len(self._tasks) >= (1 if self._room.is_full else self._most):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self._begin(flow, names)

    def _begin(self, flow: Flow, names: Sequence[str]) -> None:
        waits = flow()
        rest = None if waits is None else run_now(waits)
        if isinstance(rest, Rest):
            named = set(filter(None, names))
            self._names |= named
            task = asyncio.create_task(rest)
            self._tasks.add(task)
            self._room.taken += 1
            task.add_done_callback(partial(self._ended, named))

    async def done(self) -> None:
        """Wait until all has come to its end."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def break_off(self) -> None:
        """Cancel what has begun, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await self.done()

    def _ended(self, names: set[str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.taken -= 1
        self._names -= names
