"""Data planes that are here, and of which the control plane's Redis hears nothing.

Where they count is known by an address (pdp/control/attendance.py), and one address may be two
servers: `127.0.0.1` on two machines. But each data plane says every second in its Redis that
it lives.
"""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from pdp.app.reconcile import line_of
from pdp.control.attendance import IN_MEMORY, Attendance
from pdp.errors import Unavailable
from pdp.settings import Settings

_log = structlog.get_logger(__name__)

INTERVAL: Final = 30.0
"""Seconds between two looks."""

_SILENT: Final = 60
"""Seconds without a word; clocks of machines differ by less."""


class Strangers:
    """Tells of each once, and each of it. `clock` in ns."""

    def __init__(
        self, settings: Settings, attendance: Attendance, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._attendance = attendance
        self._clock = clock
        self._before: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._heard: Mapping[str, int] = {}

    async def look(self) -> None:
        """Log who has been here for two looks and is not heard of, and have them told.

        Where nobody is heard of at all, it may be this Redis that is another one.
        """
        here = {name for name, counters in self._attendance.here.items() if counters != IN_MEMORY}
        try:
            heard = await self._planes() if here else {}
        except Unavailable:
            # The comparison with the ledger says so. Who is heard of is not known meanwhile.
            self._attendance.apart = frozenset()
            return
        moving = self._moving(heard)
        silent = frozenset(here - moving)
        for name in sorted((silent & self._before) - self._told):
            _log.error(
                "redis has not heard of a data plane that is here: either it is cut off from "
                "redis, or the same address is another redis there, and each allows the whole "
                "budget: compare PDP_REDIS_URL on both machines",
                data_plane=name,
            )
        self._told = silent & self._before
        self._attendance.apart = self._told if moving else frozenset()
        self._before = silent

    def _moving(self, heard: Mapping[str, int]) -> set[str]:
        """Return who was heard of lately: by this clock, or since the last look by its own."""
        now, before = self._clock() // 1_000_000_000, self._heard
        self._heard = heard
        return {
            name
            for name, second in heard.items()
            if now - second <= _SILENT or second > before.get(name, second)
        }

    async def _planes(self) -> Mapping[str, int]:
        async with line_of(self._settings) as line:
            return await line.planes()
