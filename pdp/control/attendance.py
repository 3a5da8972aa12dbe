"""Which data planes are here. Counters in memory are of one data plane: no other may be beside it.

Invariant NO-OVERSPEND: each of two would allow the whole budget.
"""

import asyncio
from contextlib import suppress
from typing import Final

from pdp.errors import Conflict

PATIENCE: Final = 2.0
"""Seconds in which a data plane that was just killed is seen to be gone."""

_ALONE: Final = (
    "PDP_REDIS_URL: not set, so that {who} counts in memory, and data plane `{other}` is here "
    "already: each would allow the whole budget: set the same PDP_REDIS_URL on both, or stop one"
)


class Attendance:
    """Data planes by the id of their spool, and how many streams each has at the moment."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._streams: dict[str, int] = {}
        self._shares: dict[str, bool] = {}
        self._left = asyncio.Condition()

    async def enter(self, name: str, *, shares: bool) -> None:
        """Let a data plane in; `shares`: its counters are in Redis. Then call `leave`, once.

        Raises `Conflict` while another is here and either of the two counts in memory.
        """
        with suppress(TimeoutError):
            async with self._left, asyncio.timeout(self._patience):
                await self._left.wait_for(lambda: not self._rival(name, shares=shares))
        if rival := self._rival(name, shares=shares):
            raise Conflict(_ALONE.format(who="one" if shares else "this data plane", other=rival))
        self._streams[name] = self._streams.get(name, 0) + 1
        self._shares[name] = shares

    async def leave(self, name: str) -> None:
        """Note that a stream of a data plane has ended: it may have another one."""
        self._streams[name] -= 1
        if not self._streams[name]:
            del self._streams[name], self._shares[name]
        async with self._left:
            self._left.notify_all()

    def _rival(self, name: str, *, shares: bool) -> str:
        """Return another data plane that this one must not be beside, else nothing."""
        others = (other for other in self._shares if other != name)
        return next((each for each in others if not (shares and self._shares[each])), "")
