"""The prices in force: made again when the list says that they change, and each hour.

Some models cost less by night, some from a date on.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import structlog
from genai_prices import data
from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

from pdp.control.price_overrides import Override
from pdp.control.prices import Prices, make_prices

_log = structlog.get_logger(__name__)

_LONGEST: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_POLL: Final = 1.0
"""Seconds: a clock that is set is noticed within that, as is the end of a machine's sleep."""


class PriceFeed:
    """Holds the list in force; `clock` tells the time, with its time zone."""

    def __init__(self, overrides: Sequence[Override], clock: Callable[[], datetime]) -> None:
        self._overrides = overrides
        self._clock = clock
        self._made_at = clock()
        self._due = next_change(self._made_at)
        self.current: Prices = make_prices(overrides, self._made_at)

    async def run(self) -> None:
        """Keep the list true until cancelled."""
        while True:
            left = (self._due - self._clock()).total_seconds()
            await asyncio.sleep(max(0.0, min(_POLL, left)))
            await self.refresh()

    async def refresh(self) -> None:
        """Make the list again if it is time to, or if the clock went back."""
        now = self._clock()
        if self._made_at <= now < self._due:
            return
        # Aside: it takes 40 ms, and keys are asked for meanwhile.
        made = await asyncio.to_thread(make_prices, self._overrides, now)
        self._made_at, self._due = now, next_change(now)
        if made != self.current:
            _log.info("prices have changed", revision=made.revision)
        self.current = made


def next_change(now: datetime) -> datetime:
    """Return when the built-in list next has a boundary after `now`; an hour at most."""
    return min(each for each in _boundaries(now) if each > now)


def _boundaries(now: datetime) -> Iterator[datetime]:
    yield now + _LONGEST
    today = now.astimezone(UTC).date()
    for provider in data.providers:
        for model in provider.models:
            for price in model.prices if isinstance(model.prices, list) else ():
                match price.constraint:
                    case StartDateConstraint(start_date=start):
                        yield _moment(start, time())
                    case TimeOfDateConstraint(start_time=start_time, end_time=end_time):
                        # A time in another zone may be one of the day before or after.
                        for day in (today - _DAY, today, today + _DAY):
                            yield _moment(day, start_time)
                            yield _moment(day, end_time)


def _moment(day: date, at: time) -> datetime:
    """Return a time of a day; one that names no zone is UTC."""
    return datetime.combine(day, at, at.tzinfo or UTC)
