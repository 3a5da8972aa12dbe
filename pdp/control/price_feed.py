"""The prices in force: made again when the list or the book says that they change, and each hour.

Some models cost less by night, some from a date on.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from genai_prices import data

from pdp.control.built_in_prices import changes_of
from pdp.control.change_feed import ChangeFeed
from pdp.control.price_book import PriceBook
from pdp.control.price_entry import boundaries, in_force
from pdp.control.price_overrides import Override
from pdp.control.prices import Prices, make_prices
from pdp.errors import Unavailable
from pdp.store.prices import PriceRow

_log = structlog.get_logger(__name__)

_LONGEST: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_POLL: Final = 1.0
"""Seconds: a clock that is set is noticed within that, as is the end of a machine's sleep."""


class PriceFeed:
    """Holds the list in force; `clock` tells the time, with its time zone.

    `overrides` are those of the operator's file. Those of the `book` go before them: `feed`
    tells when something has changed there, and is told when the list has.
    """

    def __init__(
        self,
        overrides: Sequence[Override],
        clock: Callable[[], datetime],
        book: PriceBook | None = None,
        feed: ChangeFeed | None = None,
    ) -> None:
        self._overrides = overrides
        self._clock = clock
        self._book = book
        self._feed = feed
        self._revision = -1
        self._entries: list[PriceRow] = []
        self._made_at = clock()
        self._due = self._next()
        self.current: Prices = make_prices(overrides, self._made_at)

    async def run(self) -> None:
        """Keep the list true until cancelled."""
        while True:
            left = (self._due - self._clock()).total_seconds()
            wait = max(0.0, min(_POLL, left))
            if self._feed is None or self._book is None:
                await asyncio.sleep(wait)
                await self.refresh()
                continue
            revision = await self._feed.moved(self._revision, wait)
            try:
                if revision != self._revision:
                    await self.read()
                    self._revision = revision
            except Unavailable:
                await asyncio.sleep(_POLL)  # The last prices stay; then it is asked again.
            await self.refresh()

    async def read(self) -> None:
        """Read the book; make the list again if it has changed."""
        if self._book is None:
            return
        entries = await self._book.living(_ns(self._clock()))
        if entries != self._entries:
            self._entries = entries
            await self._make(self._clock())

    async def refresh(self) -> None:
        """Make the list again if it is time to, or if the clock went back."""
        now = self._clock()
        if not self._made_at <= now < self._due:
            await self._make(now)

    async def _make(self, now: datetime) -> None:
        overrides = (*in_force(self._entries, _ns(now)), *self._overrides)
        # Aside: at first it takes 0.15 s, and keys are asked for meanwhile.
        made = await asyncio.to_thread(make_prices, overrides, now)
        self._made_at = now
        self._due = self._next()
        if made != self.current:
            _log.info("prices have changed", revision=made.revision)
            self.current = made
            if self._feed is not None:
                await self._feed.nudge()

    def _next(self) -> datetime:
        now = _ns(self._made_at)
        later = [at for at in boundaries(self._entries) if at > now]
        soon = next_change(self._made_at)
        return min(soon, _EPOCH + timedelta(microseconds=-(-min(later) // 1000))) if later else soon


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def next_change(now: datetime) -> datetime:
    """Return when the built-in list next has a boundary after `now`; an hour at most."""
    return min(each for each in _boundaries(now) if each > now)


def _boundaries(now: datetime) -> Iterator[datetime]:
    yield now + _LONGEST
    for provider in data.providers:
        for model in provider.models:
            yield from changes_of(model, now)
