"""Which data planes are here, and who may be beside whom: those that count in the same place.

Invariant NO-OVERSPEND: two that count apart would each allow the whole budget.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol

import structlog

from pdp.errors import Conflict, Unavailable
from pdp.keepalive import KEEPALIVE

_log = structlog.get_logger(__name__)

PATIENCE: Final = 2.0
"""Seconds in which a data plane of this machine that was just killed is seen to be gone."""

VANISHED: Final = 2 * KEEPALIVE + PATIENCE
"""The same where its machine may be gone, too, without a word."""

_FORGOTTEN: Final = 30.0
"""Seconds after which one that waited is gone itself."""

IN_MEMORY: Final = ""
UNSAID: Final = "?"
"""In some Redis: a data plane of before, which does not say in which."""

_ALONE: Final = (
    "PDP_REDIS_URL: not set, so that {who} counts in memory, and data plane `{other}` is here "
    "already: each would allow the whole budget: set the same PDP_REDIS_URL on both, or stop one"
)
_APART: Final = (
    "PDP_REDIS_URL: this data plane counts in `{mine}`, and data plane `{other}`, which is here "
    "already, in `{theirs}`: each would allow the whole budget: set the same address on both"
)
_COPY: Final = (
    "PDP_DATA_DIR: a data plane with the same spool, `{name}`, is here already: one is a copy of "
    "the other, and the ledger would take the records of one alone: stop one, or remove the "
    "copied spool to begin with a new one"
)


class Elsewhere(Protocol):
    """Data planes at other control planes."""

    async def enter(self, name: str, counters: str) -> None:
        """Note that a data plane is here. Raises `Conflict`, `Unavailable`."""
        ...

    async def leave(self, name: str) -> None:
        """Note that it is no longer."""
        ...


class Attendance:
    """Data planes by the id of their spool, and how many streams each has at the moment.

    `patience` and `monotonic` in seconds.
    """

    def __init__(
        self,
        elsewhere: Elsewhere | None = None,
        patience: float = PATIENCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._elsewhere = elsewhere
        self._patience = patience
        self._monotonic = monotonic
        self._streams: dict[str, int] = {}
        self._counters: dict[str, str] = {}
        self._lives: dict[str, str] = {}
        self._far: set[str] = set()
        """Those that may be gone, and their lines not broken yet."""
        self._known: set[str] = set()
        """Those that were here: one that comes back may still answer for keys that it knows."""
        self._waiting: dict[str, tuple[float, float]] = {}
        """Since when others wait for them to be gone, and when each has last asked."""
        self._left = asyncio.Condition()
        self.apart: frozenset[str] = frozenset()
        """Those of which the Redis of the control plane hears nothing, while it hears of others."""

    @property
    def here(self) -> Mapping[str, str]:
        """Where each counts that is here."""
        return dict(self._counters)

    async def enter(
        self, name: str, counters: str, *, life: str = "", is_far: bool = False
    ) -> None:
        """Let a data plane in; `counters`: where they are, without credentials. Then call `leave`.

        `life` is of its process, empty: not said. `is_far`: it is on another machine, so that
        its line may outlive it.

        Raises `Conflict` while another is here that counts elsewhere, or either in memory, or
        that has the same spool, and `Unavailable` when that cannot be known: ask again.
        """

        def in_the_way(others: Mapping[str, str]) -> str:
            return clash(name, counters, others) or self._copy(name, life, others)

        await self._wait(name, in_the_way)
        self._waiting.pop(name, None)
        self._known.add(name)
        self._streams[name] = self._streams.get(name, 0) + 1
        self._counters[name] = counters
        self._lives[name] = life or self._lives.get(name, "")
        if is_far:
            self._far.add(name)
        if self._elsewhere is not None:
            try:
                await self._elsewhere.enter(name, counters)
            except BaseException:
                await self.leave(name)
                raise

    async def no_copy(self, name: str, life: str) -> None:
        """See that no other process with the same spool is here. Raises as `enter` does."""
        if self._copy(name, life, self._counters):
            await self._wait(name, lambda others: self._copy(name, life, others))

    def _copy(self, name: str, life: str, others: Mapping[str, str]) -> str:
        here = self._lives.get(name, "") if name in others else ""
        return _COPY.format(name=name) if here and life and here != life else ""

    async def _wait(self, name: str, in_the_way: Callable[[Mapping[str, str]], str]) -> None:
        """Wait until nobody is in the way, which is told in words; else raise."""
        with suppress(TimeoutError):
            async with self._left, asyncio.timeout(self._patience):
                await self._left.wait_for(lambda: not in_the_way(self._counters))
        if words := in_the_way(self._counters):
            near = {other: each for other, each in self._counters.items() if other not in self._far}
            surely = in_the_way(near)
            if surely or (name in self._known and name not in self._counters):
                # Its next process knows no key, and may wait.
                self._known.discard(name)
                raise Conflict(surely or words)
            self._refuse(name, words)

    def _refuse(self, name: str, words: str) -> None:
        """Raise `Unavailable` for one that may be gone, `Conflict` once it surely lives."""
        now = self._monotonic()
        self._waiting = {
            each: times for each, times in self._waiting.items() if now - times[1] < _FORGOTTEN
        }
        if name not in self._waiting:
            _log.warning("data plane waits: is the other gone?", data_plane=name, reason=words)
        since = self._waiting.get(name, (now, now))[0]
        self._waiting[name] = since, now
        if now - since >= VANISHED:
            raise Conflict(words)
        raise Unavailable(f"{words} (if that one is gone, it is let in within {VANISHED:g} s)")

    async def leave(self, name: str) -> None:
        """Note that a stream of a data plane has ended: it may have another one."""
        self._streams[name] -= 1
        if self._streams[name]:
            return
        del self._streams[name], self._counters[name], self._lives[name]
        self._far.discard(name)
        async with self._left:
            self._left.notify_all()
        if self._elsewhere is not None:
            await self._elsewhere.leave(name)


def clash(name: str, counters: str, others: Mapping[str, str]) -> str:
    """Return in words why a data plane must not be beside others, by where they count."""
    for other, theirs in others.items():
        if other == name:
            continue
        if IN_MEMORY in (counters, theirs):
            who = "one" if counters else "this data plane"
            return _ALONE.format(who=who, other=other)
        if counters != theirs and UNSAID not in (counters, theirs):
            return _APART.format(mine=counters, other=other, theirs=theirs)
    return ""
