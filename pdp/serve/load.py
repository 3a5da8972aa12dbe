"""Overload: when the event loop lags, new Checks are refused early instead of late."""

import asyncio
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

INTERVAL: Final = 0.05
"""Seconds between two looks."""

TOO_LATE: Final = 0.1
"""Seconds of lag. Envoy gives a Check half a second; what cannot be answered in time is
refused while its caller still listens."""


OVERLOADED: Final = "too many requests at once: try again"


class Load:
    """Tells by `shedding` whether Checks are to be refused with `unavailable` (503).

    Its looks are late by as much as every call is: the lag of the loop is the queue.
    """

    def __init__(self) -> None:
        self.shedding = False

    async def watch(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        since = 0.0
        while True:
            start = loop.time()
            await asyncio.sleep(INTERVAL)
            late = loop.time() - start - INTERVAL > TOO_LATE
            if late and not self.shedding and start - since > _QUIET:
                _log.warning("overloaded, refusing checks")
                since = start
            self.shedding = late


_QUIET = 10.0
"""Seconds between two words about it."""
