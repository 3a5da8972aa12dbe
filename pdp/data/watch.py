"""Follow the control plane's changes and keep keys and prices true."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol

import structlog

from pdp.data.control import Change
from pdp.data.keycache import KeyCache
from pdp.data.price_file import PriceFile
from pdp.errors import Unavailable
from pdp.ports import Clock
from pdp.quota.price import Price, PriceList, PriceTable

_log = structlog.get_logger(__name__)

HEARTBEAT_TIMEOUT = 3.0
"""Seconds of silence after which the line counts as dead; heartbeats come each second."""

_PAST_TABLES = 8
"""A day's worth, 1.3 MB each: holds live for minutes, corrections may come later."""

_AT_ONCE = 500
"""Changed keys that the cache is told of in one go: half a millisecond."""

_NOTHING = PriceTable(PriceList())

_PATIENCE = 30
"""Attempts without a word: at the start the other plane may come second."""


class Control(Protocol):
    """The part of the control client that the watch needs."""

    def watch(self, after_revision: int, data_plane_id: str) -> AsyncIterator[Change]:
        """Yield changes and heartbeats."""
        ...

    async def prices(self) -> tuple[str, PriceList]:
        """Return (revision, the price list)."""
        ...


class CurrentPrices:
    """The `Prices` of the data plane: the table as last received, and some before it.

    Tables are remembered from the first one received: what a request costs is what it
    cost when it was checked. After a restart there is the one that was last received.
    """

    def __init__(self) -> None:
        self._table = _NOTHING
        self._past: deque[tuple[int, PriceTable]] = deque(maxlen=_PAST_TABLES)

    def swap(self, table: PriceTable, now: int) -> None:
        """Use another table from `now` (ns) on: a Check sees the old or the new one whole."""
        if self._table is not _NOTHING:
            self._past.append((now, self._table))
        self._table = table

    def knows(self, provider: str) -> bool:
        """Tell whether there is such a provider."""
        return self._table.knows(provider)

    def provider_of(self, model: str) -> str:
        """Return the provider that a model name implies, else `unknown`."""
        return self._table.provider_of(model)

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model at a provider; None if it is not known."""
        return self._table.price(model, provider)

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        """Return the price that was in force at `at` (ns), as far back as is remembered.

        Raises `Unavailable` while there are no prices at all: what is not known yet is not free.
        """
        if self._table is _NOTHING:
            raise Unavailable("prices have not been received yet: report it again")
        for until, table in self._past:
            if at < until:
                return table.price(model, provider)
        return self._table.price(model, provider)


class Watch:
    """One task that follows changes for as long as the process lives.

    `ready` is set once keys can be looked up and prices are there; those that were `kept`
    price reports until then. `apart` hears whether the control plane's Redis hears of us;
    None: nobody says so any more.
    """

    def __init__(
        self,
        control: Control,
        keys: KeyCache,
        data_plane_id: str,
        *,
        clock: Clock,
        kept: PriceFile | None = None,
        apart: Callable[[bool | None], None] = lambda _: None,
        retry_delay: float = 0.1,
    ) -> None:
        self._control = control
        self._keys = keys
        self._data_plane_id = data_plane_id
        self._clock = clock
        self._retry_delay = retry_delay
        self._apart = apart
        self._revision = 0
        self._prices_revision = ""
        self._wanted_prices = ""
        self._fetching: asyncio.Task[None] | None = None
        self._kept = kept
        self.prices = CurrentPrices()
        if kept is not None and (prices := kept.load()) is not None:
            self.prices.swap(PriceTable(prices), clock())
        self.ready = asyncio.Event()
        self.connected = False

    async def run(self) -> None:
        """Follow until cancelled, through every loss of the line. Raises `StartRefused`."""
        attempts = 0
        while True:
            try:
                await self._follow()
            except Unavailable as error:
                attempts = 0 if self.connected else attempts + 1
                if self.connected or attempts == _PATIENCE:
                    _log.warning("control plane out of reach", error=str(error))
            self.connected = False
            self._apart(None)
            self._keys.lost()
            await asyncio.sleep(self._retry_delay)

    async def _follow(self) -> None:
        stream = self._control.watch(self._revision, self._data_plane_id)
        async with aclosing(stream) as changes:  # type: ignore[type-var]
            while True:
                try:
                    # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes
                    # together with the result.
                    async with asyncio.timeout(HEARTBEAT_TIMEOUT):
                        change = await anext(changes)
                except TimeoutError as error:
                    raise Unavailable("the control plane is silent") from error
                except StopAsyncIteration:
                    return
                await self._apply(change)

    async def _apply(self, change: Change) -> None:
        if change.reset:
            self._keys.reset()
        elif change.key_ids or change.secret_hashes:
            await self._changed(change)
        self._revision = change.revision
        self._apart(change.counts_apart)
        if not self.connected:
            self.connected = True
            _log.info("control plane connected", revision=change.revision)
        if self.ready.is_set():
            self._keys.alive()
        self._wanted_prices = change.prices_revision
        if change.prices_revision != self._prices_revision and self._fetching is None:
            # Beside the watch: a slow answer must not hold up a revocation.
            self._fetching = asyncio.create_task(self._fetch_prices())
            self._fetching.add_done_callback(self._fetched)

    async def _changed(self, change: Change) -> None:
        """Tell the cache what changed; of many, some at a time, and Checks come between."""
        most = max(len(change.key_ids), len(change.secret_hashes))
        for start in range(0, most, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            self._keys.changed(change.key_ids[some], change.secret_hashes[some])
            if start + _AT_ONCE < most:
                await asyncio.sleep(0)

    async def _fetch_prices(self) -> None:
        """Fetch the list until it is the newest that was spoken of."""
        while self._wanted_prices != self._prices_revision:
            if not await self._fetch_once():
                return

    async def _fetch_once(self) -> bool:
        try:
            revision, prices = await self._control.prices()
        except Unavailable as error:
            # The next heartbeat brings the revision again.
            _log.warning("no prices from the control plane, trying again", error=str(error))
            return False
        # Aside: it takes 6 ms.
        table = await asyncio.to_thread(self._taken_up, prices)
        self.prices.swap(table, self._clock())
        self._prices_revision = revision
        if not self.ready.is_set():
            self.ready.set()
            if self.connected:
                # Not before: without prices a key with a budget would be told `price_unknown`.
                self._keys.alive()
        return revision == self._wanted_prices

    def _taken_up(self, prices: PriceList) -> PriceTable:
        if self._kept is not None:
            self._kept.save(prices)
        return PriceTable(prices)

    def _fetched(self, done: asyncio.Task[None]) -> None:
        self._fetching = None
        if not done.cancelled() and (defect := done.exception()) is not None:
            _log.error("prices cannot be read", error=type(defect).__name__)
