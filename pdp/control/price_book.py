"""Use cases on the operator's prices: set, change, end, list. CLI and REST call these.

There is one book for the installation, which has one organization: a price is what a
provider charges, whoever asks. What was checked keeps its price: entries that have begun
never change but for their end.
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from pdp.control.access import Actor
from pdp.control.admin_log import log_price
from pdp.control.bookmark import Number, Text, bookmark, place_of
from pdp.control.change import Change, changing
from pdp.control.idempotency import Once, begun, done
from pdp.control.price_entry import (
    Entry,
    new_row,
    parse_entry,
    resource_of,
    status_of,
    without_own,
)
from pdp.errors import Conflict, Forbidden, InvalidDocument, NotFound, PreconditionFailed, Problem
from pdp.store import prices as store
from pdp.store.database import Database
from pdp.store.prices import STATUSES, PriceFilter, PriceRow

__all__ = ["MOST", "STATUSES", "PriceBook", "PriceFilter"]

MOST: Final = 1_000
"""Entries of a page."""

MOST_LIVING: Final = 10_000
"""Entries that are in force or to come: all of them are in every list."""

_SECOND: Final = 1_000_000_000
_BEGUN: Final = (
    "this price has begun, and what was checked keeps it: only `effective_until` can change; "
    "set another price for what is to come"
)

Resource = dict[str, Any]


class PriceBook:
    """The prices of one database. `now` is in ns. All of it needs `manage_billing`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, actor: Actor, wanted: PriceFilter, cursor: str | None = None
    ) -> dict[str, Any]:
        """Return {"prices": [...], "next_cursor"}, oldest first. Raises `InvalidDocument`."""
        _check(actor)
        more = msgspec.structs.replace(
            wanted,
            limit=wanted.limit + 1,
            after=place_of(cursor, "prices", Number, Text) if cursor else None,
        )
        async with self._database.reading() as connection:
            rows = await store.list_prices(connection, more)
        page = rows[: wanted.limit]
        return {
            "prices": [resource_of(row, wanted.now) for row in page],
            "next_cursor": (
                bookmark("prices", page[-1].created_at, page[-1].id)
                if len(rows) > len(page)
                else None
            ),
        }

    async def get(self, actor: Actor, price_id: str, now: int) -> Resource:
        """Return one entry."""
        _check(actor)
        async with self._database.reading() as connection:
            found = await store.get_price(connection, price_id)
        return resource_of(_there(found), now)

    async def living_for(self, actor: Actor, now: int) -> list[PriceRow]:
        """Return what `living` does, to whom it may be told."""
        _check(actor)
        return await self.living(now)

    async def living(self, now: int) -> list[PriceRow]:
        """Return what is in force at `now`, or will be."""
        async with self._database.reading() as connection:
            return await store.living_prices(connection, now)

    async def add(self, actor: Actor, body: Any, now: int, once: Once | None = None) -> Resource:
        """Set a price, from now or from a time to come on. Raises `InvalidDocument`."""
        _check(actor)
        entry = parse_entry(body)
        async with changing(self._database, actor, now) as change:
            _check(change.actor)
            if made := await begun(change.connection, actor, once, now):
                row = _there(await store.get_price(change.connection, made))
                return {**resource_of(row, now), "idempotent_replayed": True}
            _check_start(entry, now)
            if await store.count_living(change.connection, now) >= MOST_LIVING:
                raise Conflict(f"there are {MOST_LIVING:,} prices already: remove some first")
            row = new_row(entry, actor.key_id, now)
            row = msgspec.structs.replace(row, version=await change.number())
            await store.insert_price(change.connection, row)
            await done(change.connection, actor, once, row.id)
            await _log(change, "prices.create", None, row)
        return resource_of(row, now)

    async def change(
        self,
        actor: Actor,
        price_id: str,
        body: Any,
        now: int,
        if_match: Collection[int] | None = None,
    ) -> Resource:
        """Replace a price that is to come; of one that has begun, only its end.

        `body` may be the resource as it was shown. Raises `Conflict` for any other change.
        """
        _check(actor)
        async with changing(self._database, actor, now) as change:
            before = await self._found(change, price_id, if_match)
            document = without_own(body, resource_of(before, now))
            entry = parse_entry(document, before.effective_from)
            status = status_of(before, now)
            if status not in ("current", "scheduled"):
                raise Conflict(f"this price is {status}: set another one")
            if status == "current":
                _check_same(before, entry)
            else:
                _check_start(entry, now)
            if entry.effective_until is not None and entry.effective_until <= now:
                message = "in the past: DELETE ends a price now"
                raise InvalidDocument([Problem("effective_until", message)])
            start = before.effective_from if status == "current" else entry.effective_from
            after = msgspec.structs.replace(
                before,
                provider=entry.provider,
                model=entry.model,
                document=entry.document,
                effective_from=start,
                effective_until=entry.effective_until,
            )
            if after != before:
                after = await self._save(change, "prices.update", before, after)
        return resource_of(after, now)

    async def remove(
        self, actor: Actor, price_id: str, now: int, if_match: Collection[int] | None = None
    ) -> Resource:
        """End a price now, or take one back that was to come. Again changes nothing.

        The entry stays, with what it was; what it stood before is in force again.
        """
        _check(actor)
        async with changing(self._database, actor, now) as change:
            before = await self._found(change, price_id, if_match)
            after = before
            if status_of(before, now) in ("current", "scheduled"):
                end = max(now, before.effective_from)
                after = msgspec.structs.replace(before, effective_until=end, removed_at=now)
                after = await self._save(change, "prices.remove", before, after)
        return resource_of(after, now)

    async def _found(
        self, change: Change, price_id: str, if_match: Collection[int] | None
    ) -> PriceRow:
        _check(change.actor)
        found = _there(await store.get_price(change.connection, price_id))
        if if_match is not None and found.version not in if_match:
            raise PreconditionFailed(
                f"the price has changed meanwhile, to version {found.version}: get it again"
            )
        return found

    async def _save(
        self, change: Change, action: str, before: PriceRow, after: PriceRow
    ) -> PriceRow:
        after = msgspec.structs.replace(after, version=await change.number())
        await store.update_price(change.connection, after)
        await _log(change, action, before, after)
        return after


def _check(actor: Actor) -> None:
    """Raise `Forbidden` for whom what everybody pays is too much."""
    actor.require("manage_billing")
    if not actor.operator and actor.key_type != "organization":
        raise Forbidden("prices are the whole organization's: use a key of its level")


def _check_start(entry: Entry, now: int) -> None:
    start = entry.effective_from
    if start is not None and start < now:
        message = "in the past: what was checked keeps its price; leave it out for now"
        raise InvalidDocument([Problem("effective_from", message)])
    if entry.effective_until is not None and entry.effective_until <= now:
        raise InvalidDocument([Problem("effective_until", "in the past: name a time to come")])


def _check_same(before: PriceRow, entry: Entry) -> None:
    start = entry.effective_from
    assert start is not None, "it is the entry's own where none is given"
    same = (before.provider, before.model, before.document, before.effective_from // _SECOND)
    if same != (entry.provider, entry.model, entry.document, start // _SECOND):
        raise Conflict(_BEGUN)


def _there(row: PriceRow | None) -> PriceRow:
    if row is None:
        raise NotFound("there is no price with such an id: use `id` of one that is listed")
    return row


async def _log(change: Change, action: str, before: PriceRow | None, after: PriceRow) -> None:
    now = change.now
    await log_price(
        change.connection,
        change.actor,
        action,
        None if before is None else resource_of(before, now),
        resource_of(after, now),
        now,
    )
