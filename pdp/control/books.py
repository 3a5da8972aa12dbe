"""The ledger of an organization as a comparison with counters sees it."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import operator_of
from pdp.control.admin_log import log_change
from pdp.control.spend import LONGEST_HELD, hold_of, is_of
from pdp.errors import NotFound
from pdp.quota.hold import Hold
from pdp.reconcile.drift import Drift
from pdp.reconcile.flight import Name
from pdp.reconcile.sums import NOTHING, Entry, Place, Sums
from pdp.store import reconcile as store
from pdp.store import spend
from pdp.store.database import Database
from pdp.store.keys import get_key
from pdp.store.organizations import Organization
from pdp.wording import shown

_KEYS: Final = 200
"""Keys that are read in one go."""

_MOST_TOLD: Final = 200
"""Sums that an entry of the audit log names; the log of the process names all."""

_SECOND: Final = 1_000_000_000


class SqlLook:
    """One state of the ledger."""

    def __init__(self, connection: AsyncConnection, organization: Organization, root: str) -> None:
        self._connection = connection
        self._organization = organization
        self._root = root

    async def spools(self) -> Mapping[str, int]:
        """Return, by spool, the first record that is not in it."""
        return await spend.spools_in(self._connection)

    async def sums(self, places: Collection[Place]) -> Mapping[Place, Sums]:
        """Return what is counted."""
        return await store.sums(self._connection, places)

    async def entries(self, names: Collection[Name]) -> Mapping[Name, Entry]:
        """Return those of some requests that are in it."""
        decisions = sorted(name for name in names if isinstance(name, str))
        requests = sorted({name[1] for name in names if not isinstance(name, str)})
        checked = await store.entries(self._connection, decisions)
        unchecked = await store.unchecked(self._connection, self._organization.id, requests)
        return {**checked, **unchecked}

    async def pending(self, now: int) -> AsyncIterator[Sequence[tuple[Hold, bool]]]:
        """Yield what is held; whether it may be somebody's at `now` (s), or is long nobody's."""
        organization, oldest = self._organization, (now - LONGEST_HELD) * _SECOND
        async for lot in spend.pending_below(self._connection, organization.id, -1):
            yield [
                (
                    hold_of(entry, organization.calendar),
                    is_of(self._root, entry) and entry["at"] > oldest,
                )
                for entry in lot
            ]


class SqlBooks:
    """The ledger of one organization."""

    def __init__(self, database: Database, organization: Organization, root_key_id: str) -> None:
        self.organization_id = organization.id
        self.root_key_id = root_key_id
        self._database = database
        self._organization = organization

    async def lots(self, now: int) -> AsyncIterator[Mapping[Place, Sums]]:
        """Yield every key's sums in the windows that counters still have at `now` (s).

        Those of today, this month and all time are there also where nothing is counted.
        """
        calendar = self._organization.calendar
        day = calendar.day(now * _SECOND)[0]
        month = calendar.month(now * _SECOND)[0]
        after = ""
        while True:
            async with self._database.reading() as connection:
                ids = await store.key_ids(connection, self.organization_id, after, _KEYS)
                rows = await store.used(connection, ids, now)
            if not ids:
                return
            found: dict[Place, Sums] = {}
            for key_id in ids:
                for place in (("day", day), ("month", month), ("total", 0)):
                    found[Place(key_id, *place)] = NOTHING
            found.update(rows)
            yield found
            after = ids[-1]

    @asynccontextmanager
    async def look(self) -> AsyncIterator[SqlLook]:
        """Look at it as it is from the first question on."""
        async with self._database.reading() as connection:
            yield SqlLook(connection, self._organization, self.root_key_id)

    async def note(self, drifts: Sequence[Drift], now: int) -> None:
        """Write an entry: which counters were what, and are to be what."""
        before, after = {}, {}
        for drift in drifts[:_MOST_TOLD]:
            name = f"{drift.key_id} {drift.limit} {drift.start} {drift.what}"
            before[name], after[name] = drift.counter, drift.ledger
        async with self._database.writing() as connection:
            root = await get_key(connection, self.root_key_id)
            assert root is not None, "an organization has a root"
            await log_change(
                connection,
                operator_of(root.id, root.organization_id),
                "counters.reconcile",
                [root],
                now,
                settings=(before, after),
            )


async def books_of(database: Database, organization_id: str | None = None) -> list[SqlBooks]:
    """Return the ledger of each organization, or of one. Raises `NotFound`."""
    async with database.reading() as connection:
        found = [
            SqlBooks(database, organization, root)
            for organization, root in await store.roots(connection)
            if organization_id in (None, organization.id)
        ]
    if not found and organization_id is not None:
        raise NotFound(f"there is no organization {shown(organization_id)}: run `pdp init`")
    return found
