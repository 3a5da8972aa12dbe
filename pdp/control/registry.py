"""Data planes at every control plane of one database, so that those that count apart are refused.

A row each, written when it comes and goes, and renewed by one statement each some seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from pdp.control.attendance import VANISHED, clash
from pdp.errors import Conflict, Unavailable
from pdp.store import data_planes
from pdp.store.database import Database

_log = structlog.get_logger(__name__)

BEAT: Final = 5.0
"""Seconds from one renewal to the next."""

EXPIRY: Final = 15
"""Seconds after which a data plane is gone whose control plane says nothing of it."""

_SURELY: Final = int(VANISHED) * 1_000_000_000
"""ns: who is renewed for so long before one's eyes is no data plane that has vanished."""

_LOOKS, _PAUSE = 4, 0.2
"""How often one is looked for that leaves as another comes, and the seconds between."""

_FORGOTTEN: Final = 3600


class Registry:
    """What one control plane tells the others; `name` is its own, another at each start."""

    def __init__(
        self, database: Database, name: str, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._database = database
        self._name = name
        self._sleep = sleep
        self._here: dict[str, str] = {}
        self._known: set[str] = set()
        self._met: dict[str, dict[str, int]] = {}
        """For each data plane that waits, when others had been seen as it came."""
        self._asked: set[str] = set()
        """Those that have come again since the last renewal."""
        self._closing = False
        self._lock = asyncio.Lock()

    async def enter(self, name: str, counters: str) -> None:
        """Note that a data plane is here.

        Raises `Conflict` while one lives elsewhere that it must not be beside; while that may
        be one that was killed, `Unavailable`: its row is not renewed, and ends; nor for longer
        than its control plane takes to notice that its machine has vanished. Raises
        `Unavailable` without SQL, too, but not for one that was let in before.
        """
        words = ""
        for look in range(_LOOKS):
            try:
                words, lives = await self._enter(name, counters)
            except Unavailable:
                if name not in self._known:
                    raise
                words, lives = "", False
            if words and not lives:
                if look + 1 < _LOOKS:
                    await self._sleep(_PAUSE)
                continue
            self._met.pop(name, None)
            if words:
                self._known.discard(name)
                raise Conflict(words)
            self._here[name] = counters
            self._known.add(name)
            return
        raise Unavailable(f"{words} (if that one was killed, it is gone within {EXPIRY} s)")

    async def _enter(self, name: str, counters: str) -> tuple[str, bool]:
        """Return in words what it must not be beside, and whether that surely lives."""
        async with self._lock, self._database.writing() as connection:
            await data_planes.lock(connection)
            seen = await data_planes.seen_within(connection, EXPIRY)
            words = clash(name, counters, _places(seen))
            if not words:
                await data_planes.put(connection, self._name, name, counters)
                return "", False
        if name not in self._met:
            _log.warning("data plane waits: is the other gone?", data_plane=name, reason=words)
        self._asked.add(name)
        met = self._met.setdefault(name, {})
        renewed = {
            other: each
            for other, each in seen.items()
            if each[1] - met.setdefault(other, each[1]) >= _SURELY
        }
        living = clash(name, counters, _places(renewed))
        # One that was here may still answer for keys that it knows: it does not wait.
        return living or words, bool(living) or name in self._known

    async def leave(self, name: str) -> None:
        """Note that it is gone; at our own end it is not, and comes back or goes to another."""
        self._here.pop(name, None)
        if self._closing:
            return
        try:
            async with self._lock:
                if name not in self._here:
                    async with self._database.writing() as connection:
                        await data_planes.remove(connection, self._name, name)
        except Unavailable as error:
            _log.warning("a data plane is gone, and others hear of it later", error=str(error))

    async def run(self) -> None:
        """Renew what is here, until cancelled."""
        try:
            while True:
                await self._sleep(BEAT)
                try:
                    await self.beat()
                except Unavailable as error:
                    _log.warning("data planes are not renewed, trying again", error=str(error))
        finally:
            self._closing = True

    async def beat(self) -> None:
        """Renew what is here. Raises `Unavailable`."""
        self._met = {name: met for name, met in self._met.items() if name in self._asked}
        self._asked = set()
        async with self._lock:
            here = dict(self._here)
            if not here:
                return
            async with self._database.writing() as connection:
                others = _places(await data_planes.seen_within(connection, EXPIRY))
                await data_planes.renew(connection, self._name, here, EXPIRY)
                await data_planes.prune(connection, _FORGOTTEN)
        for name, counters in here.items():
            if words := clash(name, counters, others):
                # Both were here while the database was not.
                _log.error("data planes count apart", data_plane=name, reason=words)


def _places(seen: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    return {name: counters for name, (counters, _) in seen.items()}
