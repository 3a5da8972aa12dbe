"""Overload: when the event loop lags, new Checks are refused early instead of late."""

import asyncio
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

INTERVAL: Final = 0.05
"""Seconds between two looks."""

TOO_LATE: Final = 0.2
"""Seconds of lag. Envoy gives a Check half a second; what cannot be answered in time is
refused while its caller still listens."""

WARY: Final = 5.0
"""Seconds after an overload in which one late look is enough; else it takes two in a row,
for a pause of the machine, or a burst, is no overload."""

_QUIET: Final = 10.0
"""Seconds between two words about an overload."""

OVERLOADED: Final = "too many requests at once: try again"


class Load:
    """Tells by `shedding` whether Checks are to be refused with `unavailable` (503).

    Its looks are late by as much as every call is: the lag of the loop is the queue.
    """

    def __init__(self) -> None:
        self.shedding = False
        self._before = False
        self._wary_until = self._quiet_until = 0.0

    async def watch(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            await asyncio.sleep(INTERVAL)
            self.looked(now := loop.time(), now - start - INTERVAL)

    def looked(self, now: float, lag: float) -> None:
        """Decide by a look; both in seconds."""
        late = lag > TOO_LATE
        self.shedding = late and (self._before or now < self._wary_until)
        self._before = late
        if self.shedding:
            self._wary_until = now + WARY
            if now > self._quiet_until:
                _log.warning("overloaded, refusing checks")
                self._quiet_until = now + _QUIET
