"""Lines into the engine: read, reported, counted. Nothing that a line says is an error here."""

import asyncio
from collections.abc import Awaitable
from typing import Final, Protocol

import structlog

from adapters.nginx.translate import usage_of
from adapters.nginx.usage.channel import Channel, Complaint
from pdp.model import Reported, Usage
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
    """Takes the lines of one channel."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self.channel = channel
        self._in_one_go = 0
        self._malformed = Complaint(_log, "a line is no usage line: check the log format")
        self._refused = Complaint(_log, "usage not taken")

    def refuse(self) -> None:
        """Count something that came and is no line."""
        channel = self.channel
        channel.malformed += 1
        # Not the line itself: nobody knows what is in it.
        self._malformed.say(channel=channel.name, malformed=channel.malformed)

    async def take(self, text: bytes) -> None:
        """Report a line; wait where that cannot be done at the moment."""
        while True:
            if await self.take_now(text):
                break
            await asyncio.sleep(_RETRY)
        self._in_one_go += 1
        if self._in_one_go % _BREATH == 0:
            await asyncio.sleep(0)

    async def take_now(self, text: bytes) -> bool:
        """Report a line; False if that cannot be done at the moment."""
        try:
            usage = usage_of(text)
            if usage is None:
                self.refuse()
                return True
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
