"""Take spool records into the ledger: all of a batch in one transaction, each record once."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.fold import Fold, Owner, Row
from pdp.errors import Conflict
from pdp.records import (
    Denied,
    Expired,
    Held,
    Overruled,
    Record,
    Settled,
    decisions_beside,
    decode,
)
from pdp.store import key_changes, ledger
from pdp.store.database import Database

# Made once: a union that is made for each record takes as long as to ask for it.
_COUNTED: Final = (Settled, Expired, Overruled)
_WITH_FACTS: Final = (Held, Denied, Settled)
_WITHOUT_FACTS: Final = (Expired, Overruled)


async def ingest(
    database: Database, spool_id: str, first_sequence: int, records: Sequence[bytes]
) -> int:
    """Return the sequence number that comes next, once everything below is committed.

    Records below it are skipped: they came before. Raises `Conflict` on a gap
    or a record that cannot be read, `Unavailable` when SQL does not answer.
    """
    if not records:
        async with database.reading() as connection:
            return await ledger.next_sequence(connection, spool_id)
    async with database.writing() as connection:
        following = await ledger.take_turn(connection, spool_id)
        if first_sequence > following:
            raise Conflict(f"spool {spool_id}: record {following} comes next, not {first_sequence}")
        fresh = [_decoded(record) for record in records[following - first_sequence :]]
        if not fresh:
            return following
        await ledger.take_turn_of(connection, {_root_of(each) for each in fresh} - {""})
        await _take(connection, fresh)
        following += len(fresh)
        await ledger.set_next_sequence(connection, spool_id, following)
        return following


async def _take(connection: AsyncConnection, fresh: Sequence[Record]) -> None:
    """Take records that did not come before."""
    beside = {
        _decision_of(each): decisions_beside(each)
        for each in fresh
        if isinstance(each, Settled | Overruled)
    }
    names = {_decision_of(each) for each in fresh}.union(*beside.values())
    found = await ledger.load(connection, sorted(names - {""}))
    stored = {values[0]: values for values in found}
    rows = {decision_id: Row(*values) for decision_id, values in stored.items()}
    fold = Fold(rows, await _owners(connection, fresh, rows), beside)
    for record in fresh:
        fold.add(record)
    try:
        await ledger.save(connection, list(fold.changed.values()), stored)
        await ledger.add_spend(connection, fold.spend)
        await ledger.add_usage(connection, fold.usage)
        await key_changes.touch_keys(connection, fold.used)
    except OverflowError as error:
        raise Conflict("a spool record has a number that the ledger cannot hold") from error


def _decoded(record: bytes) -> Record:
    try:
        return decode(record)
    except msgspec.MsgspecError as error:
        raise Conflict(f"a spool record cannot be read: {error}") from error


async def _owners(
    connection: AsyncConnection, records: Sequence[Record], rows: Mapping[str, Row]
) -> dict[str, Owner]:
    """Return whose the keys are of which records say too little; most often nobody asks."""
    held = rows.keys() | {each.facts.decision_id for each in records if isinstance(each, Held)}
    lost = {
        each.facts.key_id if isinstance(each, Settled) else each.key_id
        for each in records
        if (isinstance(each, Settled) and not each.facts.organization_id)
        or isinstance(each, Expired)
        if _decision_of(each) not in held
    }
    if not lost:
        return {}
    found = await ledger.owners(connection, sorted(lost))
    return {key_id: Owner(**columns) for key_id, columns in found.items()}


def _root_of(record: Record) -> str:
    """Return the root key of what a record counts; empty: nobody else writes about it."""
    if isinstance(record, Held):
        return record.hold.windows[-1].key_id
    if isinstance(record, _COUNTED) and record.windows:
        return record.windows[-1].key_id
    return ""


def _decision_of(record: Record) -> str:
    if isinstance(record, _WITH_FACTS):
        return record.facts.decision_id
    return record.decision_id if isinstance(record, _WITHOUT_FACTS) else ""
