"""One root's way to Redis: what is asked during a call shares the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from pdp.counters.redis import asks
from pdp.counters.redis.away import Away
from pdp.counters.redis.breaker import Breaker
from pdp.counters.redis.layout import prefix_of
from pdp.slot import Slot

MOST_OPS: Final = 32
"""Ops in one call: the script takes Redis up to 100 us each, and nobody else is served."""

_MOST_CALLS: Final = 2
"""Calls of one root at a time: while Redis does one, the next is packed and the last read."""

_MARKS: Final = 3

MOST_WAITING: Final = 5_000
"""Beyond this, what is asked would not be answered in time."""

_UNREAD: Final = "what Redis has answered cannot be read: try again"

_NUDGE: Final = 0.1
"""Seconds after which a task that goes on is cancelled again."""


class Script(Protocol):
    """The part of the line that a lane needs."""

    async def run_script(self, prefix: str, argument: bytes, *, is_patient: bool) -> Any:
        """Run the script on a root; `is_patient`: nobody waits for it. Raises `Away`."""
        ...

    async def renew(self) -> None:
        """Ask who is to be written to, and let go of connections to whoever was before."""
        ...


class Answered:
    """Answers of one call: the epoch of the counters, the time in ns, one answer for each op.

    `count` is the number of the call among those of the owner. `refused` says why nothing was
    written, empty: it was.
    """

    __slots__ = ("answers", "count", "epoch", "now", "refused")

    def __init__(self, found: Any) -> None:
        epoch, seconds, nanoseconds, self.answers, count = found
        self.count: int = count if isinstance(count, int) else 0
        self.refused = "" if isinstance(count, int) else bytes(count).decode(errors="replace")
        self.epoch: bytes | None = epoch
        self.now: int = seconds * 1_000_000_000 + nanoseconds


Waiting = tuple[bytes, int, Slot[tuple[Any, Answered]]]
"""An op, the time in ns that its caller tells (0: Redis has the clock), and who waits."""


class Lane:
    """Gathers ops for one root, and sends them in few calls, each once there is room for it.

    `breaker` is told of each call that is answered, `failed` of others, with their round, and
    `refused` of each that is answered, with the root and why nothing was written. Whoever
    waited for a call goes on in one `turn`, should he be able to at once.
    """

    def __init__(
        self,
        root: str,
        owner: str,
        script: Script,
        breaker: Breaker,
        failed: Callable[[int], None],
        refused: Callable[[str, str], None],
        turn: AbstractContextManager[object],
    ) -> None:
        self.root = root
        self.epoch: bytes | None = None
        """Of the counters in which all is counted that this data plane has spooled, else None."""
        self.last_epoch: bytes | None = None
        """That of the counters that were joined last, whether or not they were left since."""
        self.behind = 0
        """Records of the spool that are still to be read by whoever joins it just now."""
        self.floor = 0
        """The last call that was answered: a Redis that does not know of it is an old one."""
        self.left = 0
        """How often it was left: who joins it meanwhile has to look again."""
        self.counted = 0
        """Number of the record up to which Redis has been told that all are counted."""
        self._marks: deque[tuple[int, int]] = deque()
        self._sent = 0
        """How many ops have gone out, or have been given up before."""
        self._flying: set[int] = set()
        """Of the calls that are not answered, how many ops had gone out before each."""
        self._prefix = prefix_of(root)
        self._owner = owner
        self._script = script
        self._failed = failed
        self._refused = refused
        self._breaker = breaker
        self._turn = turn
        self._waiting: deque[Waiting] = deque()
        self._running: set[asyncio.Task[None]] = set()

    def joined(self, epoch: bytes) -> None:
        """Note that all that was spooled is counted."""
        self.epoch = self.last_epoch = epoch
        self.behind = 0
        self._marks.clear()

    def mark(self, number: int) -> int | None:
        """Note the end of the spool, once a second; return up to where all is surely counted.

        What is spooled is asked at once: so all is counted that was there three marks ago, once
        what was asked by then is answered. A call may take longer than that.
        """
        self._marks.append((number, self._sent + len(self._waiting)))
        if len(self._marks) <= _MARKS:
            return None
        first, asked = self._marks[0]
        if min(self._flying, default=self._sent) < asked:
            self._marks.pop()
            return None
        self._marks.popleft()
        return first

    async def ask(self, op: bytes, now: int) -> tuple[Any, Answered]:
        """Return the answer to an op, and the call that brought it. Raises `Away`."""
        if len(self._waiting) >= MOST_WAITING:
            raise Away("Redis is slower than what is asked of it: try again")
        slot: Slot[tuple[Any, Answered]] = Slot()
        self._waiting.append((op, now, slot))
        if len(self._running) < _MOST_CALLS:
            task = asyncio.create_task(self._run())
            self._running.add(task)
        try:
            return await slot
        finally:
            # An error that it holds has this frame: in a circle they, and the request that is
            # further up, would wait for the collector.
            del slot

    async def call(self, ops: list[bytes], now: int, *, is_patient: bool = False) -> Answered:
        """Do some ops in one call of their own. Raises `Away`."""
        began = self._breaker.round
        left, argument = self.left, asks.call(self._owner, now, ops, self.floor)
        try:
            found = await self._script.run_script(self._prefix, argument, is_patient=is_patient)
        except Away as error:
            if error.is_refused:
                self._refused(self.root, str(error))
            elif not error.is_busy:
                self._failed(began)
            raise
        self._breaker.succeeded()
        answered = Answered(found)
        self._refused(self.root, answered.refused)
        if "READONLY" in answered.refused:
            # It was the primary when we connected. The client is told nothing, for the script
            # goes on, and would keep the connection.
            await self._script.renew()
        if left == self.left:
            self.floor = max(self.floor, answered.count)
        return answered

    async def close(self) -> None:
        """Give up all that is asked."""
        await end(self._running)
        # One that had not begun has told nobody.
        self._cancel(self._take_all())

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._send()
        finally:
            # At once: who asks before the loop has told of the end would count on this one.
            self._running.discard(asyncio.current_task())

    async def _send(self) -> None:
        before = self._sent
        batch = self._next_batch()
        if not batch:
            return
        self._flying.add(before)
        try:
            await self._carry(batch)
        finally:
            self._flying.discard(before)

    async def _carry(self, batch: list[Waiting]) -> None:
        try:
            answered = await self.call([op for op, _, _ in batch], batch[0][1])
            answers = list(zip(batch, answered.answers, strict=True))
        except Away as error:
            # Nor does anybody wait any longer who has waited for it: a deadline is one.
            failed, why = [*batch, *self._take_all()], str(error)
            maybe_done = 0 if error.is_busy or error.is_refused else len(batch)
        except Exception as error:
            # A defect, and the loop's to tell: who waits needs an answer, and the next are sent.
            failed, why, maybe_done = batch, _UNREAD, len(batch)
            told = {"message": "a call of Redis broke", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
        except BaseException:
            self._cancel(batch)
            raise
        else:
            with self._turn:
                for (_, _, slot), answer in answers:
                    if not slot.done():
                        slot.set_result((answer, answered))
                        slot.awaken()
            return
        # Here, for what is raised while another error is handled holds that one, whose
        # traceback has the batch: in a circle all would wait for the collector.
        self._fail(failed, why, maybe_done)

    def _fail(self, waiting: Sequence[Waiting], why: str, maybe_done: int) -> None:
        """Let all know that a call failed; the first `maybe_done` of them may have been done."""
        with self._turn:
            for place, (_, _, slot) in enumerate(waiting):
                if not slot.done():
                    slot.set_exception(Away(why, maybe_done=place < maybe_done))
                    slot.awaken()

    def _cancel(self, waiting: Sequence[Waiting]) -> None:
        with self._turn:
            for _, _, slot in waiting:
                if slot.cancel():
                    slot.awaken()

    def _take_all(self) -> list[Waiting]:
        taken = list(self._waiting)
        self._sent += len(taken)
        self._waiting.clear()
        return taken

    def _next_batch(self) -> list[Waiting]:
        """Return what is asked next; not what its caller no longer waits for."""
        batch: list[Waiting] = []
        while self._waiting and len(batch) < MOST_OPS:
            each = self._waiting.popleft()
            self._sent += 1
            if not each[2].done():
                batch.append(each)
        return batch


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they have ended, whatever they say.

    Until, not once: the client writes with `asyncio.wait_for`, which in Python 3.11 swallows
    a cancellation that comes together with its result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_NUDGE)
