"""From a secret's hash, or a key's id, to everything that decides for it."""

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import Conflict, Unavailable
from pdp.model import Resolved
from pdp.store import changes
from pdp.store import keys as store
from pdp.store.database import Database
from pdp.store.organizations import Organization, organization_of

_MOST = 64
"""Keys that are looked up in one transaction."""

Name = bytes | str
"""What a key is asked for by: the hash of a secret, or an id."""

_Answer = asyncio.Future[tuple[int, Resolved | None]]
_Question = tuple[Name, _Answer]


class Resolver:
    """Resolves what is asked for at the same time in one transaction.

    Four statements take 2 ms of CPU, for one key or for many: when thousands change, their
    data planes ask for all of them at once.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Question] = []
        self._running: asyncio.Task[None] | None = None

    async def resolve(self, name: Name) -> tuple[int, Resolved | None]:
        """Return (revision, the key with its chains; None if there is none), of one moment.

        That is a moment after the question. Raises `Conflict` and `Unavailable`.
        """
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.append((name, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._answer(batch)
        finally:
            self._running = None

    async def _answer(self, batch: Sequence[_Question]) -> None:
        try:
            async with self._database.reading() as connection:
                number, found = await resolve_all(connection, [name for name, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, Unavailable):
                # A row that cannot be read is nobody else's fault: it is found by halves.
                half = len(batch) // 2
                await self._answer(batch[:half])
                await self._answer(batch[half:])
                return
            # Whatever it is, it is for those who asked, and the next batch goes on.
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for name, answer in batch:
            if answer.done():
                continue  # Who asked is gone.
            resolved = found[name]
            if isinstance(resolved, Conflict):
                answer.set_exception(resolved)
            else:
                answer.set_result((number, resolved))


async def resolve(
    database: Database, secret_hash: bytes | None, key_id: str
) -> tuple[int, Resolved | None]:
    """Return (revision, the key with its chains; None if there is none), of one moment."""
    async with database.reading() as connection:
        return await resolve_within(connection, secret_hash, key_id)


async def resolve_within(
    connection: AsyncConnection, secret_hash: bytes | None, key_id: str
) -> tuple[int, Resolved | None]:
    """As `resolve`, within a transaction that is open."""
    name = key_id if secret_hash is None else secret_hash
    number, found = await resolve_all(connection, [name])
    resolved = found[name]
    if isinstance(resolved, Conflict):
        raise resolved
    return number, resolved


async def resolve_all(
    connection: AsyncConnection, names: Sequence[Name]
) -> tuple[int, dict[Name, Resolved | Conflict | None]]:
    """Return (revision, each key by the name that it was asked for by).

    A `Conflict` is a key whose chains cannot be read; None is one that is not there.
    """
    number = await changes.current(connection)
    hashes = [name for name in names if isinstance(name, bytes)]
    secrets = await store.get_secrets(connection, hashes) if hashes else {}
    ids = {name for name in names if isinstance(name, str)}
    rows = await store.with_ancestors(
        connection, sorted(ids | {secret.key_id for secret in secrets.values()})
    )
    organizations = {
        each: await organization_of(connection, each)
        for each in sorted({row.organization_id for row in rows.values()})
    }
    found: dict[Name, Resolved | Conflict | None] = {}
    for name in names:
        secret = secrets.get(name) if isinstance(name, bytes) else None
        key_id = name if isinstance(name, str) else secret and secret.key_id
        if key_id not in rows:
            found[name] = None
            continue
        try:
            found[name] = _resolved(key_id, secret, rows, organizations, number)
        except Conflict as error:
            found[name] = error
    return number, found


def _resolved(
    key_id: str,
    secret: store.SecretRow | None,
    rows: Mapping[str, store.KeyRow],
    organizations: Mapping[str, Organization],
    number: int,
) -> Resolved:
    organization = organizations[rows[key_id].organization_id]
    parents = _chain(rows, key_id, "parent_key_id")
    granters = _chain(rows, key_id, "granted_by")
    return Resolved(
        key_id=key_id,
        parents=parents,
        granters=granters,
        records=tuple(rows[each].record() for each in dict.fromkeys((*parents, *granters))),
        timezone=organization.timezone,
        moved=organization.moved,
        revision=number,
        secret_expires_at=secret.expires_at if secret else None,
        secret_revoked=secret is not None and secret.revoked_at is not None,
    )


def _chain(rows: Mapping[str, store.KeyRow], key_id: str, upwards: str) -> tuple[str, ...]:
    """Return ids from a key up to its root, along `parent_key_id` or `granted_by`.

    Raises `Conflict` for a chain beyond the bound, or a circle: whoever went on
    without those above would leave out their limits.
    """
    found: list[str] = []
    above: str | None = key_id
    while above is not None:
        if len(found) == store.MOST_LEVELS:
            raise store.too_long(key_id)
        found.append(above)
        above = getattr(rows[above], upwards)
    return tuple(found)
