"""Many rows at once: INSERT ... ON CONFLICT, given to the driver as tuples.

SQLAlchemy's own way for many rows makes dictionaries of each and asks it of its
statement; that costs as much as the insert itself (docs/performance.md).
"""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from pdp.quota.money import MOST_SUM
from pdp.store.database import insert_into


class Upsert:
    """Inserts rows of a table, or changes those that have the same primary key.

    `sums`: numbers are added to what is there, as the counters do: not beyond what
    64 bits hold, which must not stop the ledger. Else the new row replaces the old, but for
    the `fixed` columns, which never change: what is not set costs no index anything.
    """

    def __init__(self, table: sa.Table, *, sums: bool = False, fixed: Collection[str] = ()) -> None:
        self.columns = tuple(column.name for column in table.columns)
        self._table = table
        self._sums = sums
        self._kept = {column.name for column in table.primary_key} | set(fixed)
        self._compiled: dict[str, str] = {}

    async def run(self, connection: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Take rows, each in the order of `columns`."""
        if rows:
            await connection.exec_driver_sql(self._sql(connection), list(rows))

    def _sql(self, connection: AsyncConnection) -> str:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = self._compile(connection, dialect)
        return self._compiled[dialect.name]

    def _compile(self, connection: AsyncConnection, dialect: Dialect) -> str:
        keys = [column.name for column in self._table.primary_key]
        statement = insert_into(connection, self._table).values(
            {name: sa.bindparam(name) for name in self.columns}
        )
        statement = statement.on_conflict_do_update(
            index_elements=keys,
            set_={
                name: self._changed(name, statement.excluded[name])
                for name in self.columns
                if name not in self._kept
            },
        )
        compiled = statement.compile(dialect=dialect)
        assert tuple(compiled.positiontup or ()) == self.columns, "the driver takes tuples"
        return str(compiled)

    def _changed(self, name: str, new: ColumnElement[Any]) -> ColumnElement[Any]:
        if not self._sums:
            return new
        old = self._table.c[name]
        most: ColumnElement[int] = sa.literal_column(str(MOST_SUM))
        # Not `old + new > most`: that sum may be beyond 64 bits, which PostgreSQL refuses.
        return sa.case((new > most - old, most), else_=old + new)
