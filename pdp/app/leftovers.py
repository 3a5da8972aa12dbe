"""Spools of workers that are no more: fewer were started than before.

The ledger gets the rest, and then Redis, as far as it has not counted it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from pdp.data.control import ControlClient
from pdp.data.shipper import Ledger, Shipper
from pdp.errors import StartRefused, Unavailable
from pdp.seat import Seat, further_spools
from pdp.settings import Settings
from pdp.spool.journal import Journal

_log = structlog.get_logger(__name__)

_RETRY: Final = 1.0
_OWNER_DIES: Final = 5.0
"""Seconds that a killed worker may take to let its spool go."""


def leftovers_of(
    settings: Settings, seat: Seat, control: ControlClient
) -> Sequence[Callable[[], Awaitable[None]]]:
    """Return what the first worker has to ship beside its own: one call a spool.

    What such a spool holds is expired by whoever shares its counters.
    """
    if seat.number > 1:
        return ()
    count = None
    if settings.redis_url is not None:
        from pdp.app.redis import count_rest  # noqa: PLC0415  A third of a second, 10 MB.

        count = partial(count_rest, settings, control)
    return [partial(ship_rest, path, control, count) for path in further_spools(settings, seat.of)]


async def ship_rest(
    directory: Path,
    ledger: Ledger,
    count: Callable[[Journal], Awaitable[None]] | None = None,
) -> None:
    """Hand over what a spool has that the ledger has not; who takes the folder up finds it whole.

    `count`: then let the counters have it. Waits for the control plane, and for them. A spool
    that cannot be read is left alone, and logged.
    """
    journal = Journal(directory)
    try:
        await asyncio.to_thread(journal.open, "", _OWNER_DIES)
        try:
            shipper = Shipper(journal, ledger)
            await _done(shipper.drain, "shipped", is_news=shipper.placed.is_set)
            if count is not None:
                await _done(partial(count, journal), "counted")
                # To count may have added to it: of two reports another was counted before.
                await _done(shipper.drain, "shipped")
        finally:
            journal.close()
    except StartRefused as error:
        _log.error("a worker's spool is left, and cannot be shipped", reason=str(error))


async def _done(
    work: Callable[[], Awaitable[None]], what: str, is_news: Callable[[], bool] = lambda: True
) -> None:
    """Try until it is done; say once, when it `is_news`, that it is not yet."""
    told = False
    while True:
        try:
            await work()
        except Unavailable as error:
            if not told and is_news():
                told = True
                _log.warning(f"a worker's spool is left, and not {what} yet", error=str(error))
            await asyncio.sleep(_RETRY)
        else:
            return
