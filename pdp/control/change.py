"""A change of the tree of keys: a transaction with a number, told to watchers and logged."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import Actor, renewed
from pdp.control.admin_log import Settings, log_change
from pdp.errors import Forbidden
from pdp.store import changes, key_changes
from pdp.store.database import Database
from pdp.store.keys import KeyRow


class Change:
    """An open transaction, alone in changing keys. What changes nothing takes no number."""

    def __init__(self, connection: AsyncConnection, actor: Actor, now: int) -> None:
        self.connection = connection
        self.actor = actor
        self.now = now
        self._number = 0

    async def number(self) -> int:
        """Return the number of this change: the version of all that it touches."""
        if not self._number:
            self._number = await changes.bump(self.connection)
        return self._number

    @property
    def is_numbered(self) -> bool:
        """Whether anything has changed."""
        return self._number > 0

    async def update(
        self,
        action: str,
        before: KeyRow,
        after: KeyRow,
        secret_hash: bytes | None = None,
        reason: str = "",
    ) -> KeyRow:
        """Store a key that is there already; return it as stored."""
        stored = msgspec.structs.replace(after, version=await self.number())
        await key_changes.update_key(self.connection, stored)
        await self.tell(action, [stored], [before], secret_hash, reason)
        return stored

    async def tell(
        self,
        action: str,
        rows: Sequence[KeyRow],
        before: Sequence[KeyRow] = (),
        secret_hash: bytes | None = None,
        reason: str = "",
        settings: Settings | None = None,
    ) -> None:
        """Note which keys changed, for data planes and the audit log.

        `secret_hash` is that of a new secret of the first of them; `settings` are those of
        the organization that changed, before and after.
        """
        key_ids = [row.id for row in rows]
        await changes.note(self.connection, await self.number(), key_ids, secret_hash)
        await log_change(
            self.connection, self.actor, action, rows, self.now, before, reason, settings
        )


@asynccontextmanager
async def changing(database: Database, actor: Actor, now: int) -> AsyncIterator[Change]:
    """Give a change; it is committed at the end, and gone after an exception.

    Its `actor` is as it is now that nobody else can change it: of two that take each other's
    grants over, or revoke each other, the second finds what the first did.
    """
    async with database.writing() as connection:
        await changes.lock(connection)
        actor = await renewed(connection, actor, now)
        if actor.read_only and not actor.operator:
            raise Forbidden("this key is `read_only`, or a granter of it is: it only looks")
        change = Change(connection, actor, now)
        yield change
    if change.is_numbered:
        database.changed.set()
