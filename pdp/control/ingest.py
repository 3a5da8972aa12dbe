"""Take spool records into the ledger: all of a batch in one transaction, each record once."""

from collections.abc import Sequence

import msgspec

from pdp.control.fold import Fold, Row
from pdp.errors import Conflict
from pdp.spool.records import Denied, Expired, Held, Record, Settled, decode
from pdp.store import ledger
from pdp.store.database import Database


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
        following = await ledger.next_sequence(connection, spool_id)
        if first_sequence > following:
            raise Conflict(f"spool {spool_id}: record {following} comes next, not {first_sequence}")
        fresh = [_decoded(record) for record in records[following - first_sequence :]]
        if not fresh:
            return following
        stored = await ledger.load(
            connection, sorted({_decision_of(each) for each in fresh} - {""})
        )
        fold = Fold({row["decision_id"]: Row(**row) for row in stored})
        for record in fresh:
            fold.add(record)
        await ledger.save(connection, list(fold.changed.values()))
        await ledger.add_spend(connection, fold.spend)
        await ledger.add_usage(connection, fold.usage)
        following += len(fresh)
        await ledger.set_next_sequence(connection, spool_id, following)
        return following


def _decoded(record: bytes) -> Record:
    try:
        return decode(record)
    except msgspec.MsgspecError as error:
        raise Conflict(f"a spool record cannot be read: {error}") from error


def _decision_of(record: Record) -> str:
    if isinstance(record, Held | Denied | Settled):
        return record.facts.decision_id
    return record.decision_id if isinstance(record, Expired) else ""
