"""Lines into the engine: read, reported, counted. Nothing that a line says is an error here."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import structlog

from adapters.nginx.translate import usage_of
from adapters.nginx.usage.channel import Channel, Complaint
from pdp.model import Reported, Usage
from pdp.serve.abreast import Abreast, Room
from pdp.serve.logs import log_defect

_log = structlog.get_logger(__name__)

_BREATH: Final = 10
"""Lines that are taken in one go; then a Check may come in between."""

_RETRY: Final = 1.0
"""Seconds after which is tried again what could not be written down."""


class Engine(Protocol):
    """The part of the engine that takes usage."""

    def report(self, usage: Usage) -> Reported | Awaitable[Reported]:
        """Settle a usage."""
        ...


class Intake:
    """Takes the lines of one channel; `left` is how many could not be reported at the end."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self.channel = channel
        self._in_one_go = 0
        self.left = 0
        self._abreast = Abreast(Room())
        self._ending = asyncio.Event()
        self._malformed = Complaint(_log, "a line is no usage line: check the log format")
        self._refused = Complaint(_log, "usage not taken")

    def refuse(self) -> None:
        """Count something that came and is no line."""
        channel = self.channel
        channel.malformed += 1
        # Not the line itself: nobody knows what is in it.
        self._malformed.say(channel=channel.name, malformed=channel.malformed)

    async def take(self, text: bytes) -> None:
        """Report a line, beside the next ones where that takes a while; `done` waits for it.

        Who is cancelled while he waits here has not handed it over.
        """
        self._in_one_go += 1
        if self._in_one_go % _BREATH == 0:
            await asyncio.sleep(0)
        usage = self._read(text)
        if usage is not None:
            names = usage.reservation_id, usage.request_id
            await self._abreast.begin(partial(self._report_at_last, usage), *names)

    async def done(self) -> None:
        """Wait until all lines are reported that were taken."""
        await self._abreast.done()

    def end(self) -> None:
        """Try nothing again from now on: what cannot be reported is `left`."""
        self._ending.set()

    async def give_up(self) -> None:
        """Break off what is not reported yet."""
        self.end()
        await self._abreast.break_off()

    def _read(self, text: bytes) -> Usage | None:
        try:
            usage = usage_of(text)
        except Exception as error:
            log_defect(_log, "usage line failed", error)
            self._refused.say(code="internal", reason="")
            self.channel.taken += 1
            return None
        if usage is None:
            self.refuse()
        return usage

    async def _report_at_last(self, usage: Usage) -> None:
        """Report a usage; wait where that cannot be done at the moment."""
        while not await self._report(usage):
            if self._ending.is_set():
                self.left += 1
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _RETRY)

    async def _report(self, usage: Usage) -> bool:
        try:
            answer = self._engine.report(usage)
            reported = answer if isinstance(answer, Reported) else await answer
        except Exception as error:
            log_defect(_log, "usage line failed", error)
            reported = Reported("error", "internal")
        if reported.result == "error":
            if reported.code == "unavailable":
                return False
            self._refused.say(code=reported.code, reason=reported.message)
        self.channel.taken += 1
        return True
