"""Keys and their secrets in SQL: rows in, `KeyRow` out."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import Conflict
from pdp.model import KeyRecord
from pdp.store.schema import api_keys, secrets
from pdp.store.text import is_storable


class Document(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The authored part of a key, as written. JSON in the database."""

    access: str | None = None
    permissions: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None
    rate_limits: dict[str, Any] | None = None
    budget_limits: dict[str, Any] | None = None
    token_limits: dict[str, Any] | None = None
    max_requests: int | None = None
    budget_alerts: dict[str, Any] | None = None
    alerts: dict[str, Any] | None = None
    ip_allowlist: dict[str, Any] | None = None
    webhooks: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None


class KeyRow(Struct, frozen=True, kw_only=True):
    """A key as stored, with what may be shown of its newest secret. Times in ns."""

    id: str
    organization_id: str
    version: int
    status: str
    key_type: str
    name: str
    description: str = ""
    team_id: str = ""
    user_id: str = ""
    parent_key_id: str | None = None
    granted_by: str | None = None
    temporary: bool = False
    permissions_apply_to: str = "self"
    environment: str = "prod"
    document: Document
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    rotated_at: int | None = None
    last_used_at: int | None = None
    prefix: str = ""
    last_four: str = ""

    def record(self) -> KeyRecord:
        """Return what the data plane needs of it."""
        authored = msgspec.structs.asdict(self.document)
        for name in ("budget_alerts", "alerts", "webhooks"):
            del authored[name]
        return KeyRecord(
            id=self.id,
            name=self.name,
            version=self.version,
            status=self.status,  # type: ignore[arg-type]
            key_type=self.key_type,  # type: ignore[arg-type]
            organization_id=self.organization_id,
            team_id=self.team_id,
            user_id=self.user_id,
            parent_key_id=self.parent_key_id or "",
            granted_by=self.granted_by or "",
            permissions_apply_to=self.permissions_apply_to,  # type: ignore[arg-type]
            expires_at=self.expires_at,
            **authored,
        )


class SecretRow(Struct, frozen=True):
    """A secret as stored: never the raw key. Times in ns."""

    hash: bytes
    key_id: str
    prefix: str
    last_four: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


MOST_LEVELS: Final = 64
"""Keys in a chain, its own end included."""

_document = msgspec.json.Decoder(Document)
_NOT_COLUMNS = ("prefix", "last_four")


async def insert_key(connection: AsyncConnection, row: KeyRow) -> None:
    """Store a new key."""
    await connection.execute(sa.insert(api_keys).values(**columns_of(row)))


def columns_of(row: KeyRow) -> dict[str, Any]:
    """Return a key as columns of its table."""
    values = msgspec.structs.asdict(row)
    for name in _NOT_COLUMNS:
        del values[name]
    values["temporary"] = int(row.temporary)
    values["document"] = msgspec.json.encode(row.document).decode()
    return values


async def insert_secret(connection: AsyncConnection, secret: SecretRow) -> None:
    """Store a new secret."""
    await connection.execute(sa.insert(secrets).values(**msgspec.structs.asdict(secret)))


async def get_secret(connection: AsyncConnection, secret_hash: bytes) -> SecretRow | None:
    """Return a secret by its hash."""
    return (await get_secrets(connection, [secret_hash])).get(secret_hash)


async def get_secrets(
    connection: AsyncConnection, hashes: Sequence[bytes]
) -> dict[bytes, SecretRow]:
    """Return the secrets of some hashes, by hash; those that are not there are left out."""
    rows = await connection.execute(_by_hash(), {"hashes": hashes})
    return {row.hash: row for row in (SecretRow(*values) for values in rows)}


@cache
def _by_hash() -> Any:
    columns = (secrets.c[name] for name in SecretRow.__struct_fields__)
    return sa.select(*columns).where(secrets.c.hash.in_(sa.bindparam("hashes", expanding=True)))


async def has_secrets(connection: AsyncConnection) -> bool:
    """Tell whether any key was ever made."""
    query = sa.select(sa.exists(sa.select(secrets.c.hash)))
    return bool((await connection.execute(query)).scalar_one())


async def get_keys(connection: AsyncConnection, key_ids: Sequence[str]) -> dict[str, KeyRow]:
    """Return the keys of some ids, by id; those that are not there are left out."""
    known = [key_id for key_id in key_ids if is_storable(key_id)]
    if not known:
        return {}
    query = select_keys().where(api_keys.c.id.in_(known))
    return {row.id: row for row in map(row_of, (await connection.execute(query)).mappings())}


async def get_key(connection: AsyncConnection, key_id: str) -> KeyRow | None:
    """Return a key by its id."""
    return (await get_keys(connection, [key_id])).get(key_id)


async def chain(connection: AsyncConnection, key_id: str, upwards: str) -> list[str]:
    """Return ids from a key up to its root, along `parent_key_id` or `granted_by`.

    Raises `Conflict` where the root is not among `MOST_LEVELS` keys: whoever went
    on without those above would leave out their limits.
    """
    if not is_storable(key_id):
        return []
    link = api_keys.c[upwards]
    first = sa.select(api_keys.c.id, link.label("up"), sa.literal(0).label("depth")).where(
        api_keys.c.id == key_id
    )
    walk = first.cte("walk", recursive=True)
    walk = walk.union_all(
        sa.select(api_keys.c.id, link, walk.c.depth + 1).where(
            api_keys.c.id == walk.c.up, walk.c.depth < MOST_LEVELS
        )
    )
    query = sa.select(walk.c.id).order_by(walk.c.depth)
    found = list((await connection.execute(query)).scalars())
    if len(found) > MOST_LEVELS:
        raise too_long(key_id)
    return found


def too_long(key_id: str) -> Conflict:
    """Return what to raise for a chain in which the root is not among `MOST_LEVELS` keys."""
    return Conflict(f"key {key_id} has more than {MOST_LEVELS} keys above it, or is one of them")


async def with_ancestors(connection: AsyncConnection, key_ids: Sequence[str]) -> dict[str, KeyRow]:
    """Return some keys and all above them, by `parent_key_id` or by `granted_by`, by id.

    Keys that are not there are left out, and what may be shown of their secrets.
    """
    storable = [each for each in key_ids if is_storable(each)]
    if not storable:
        return {}
    found = await connection.execute(_upwards(), {"key_ids": storable})
    return {row.id: row for row in map(row_of, found.mappings())}


@cache
def _upwards() -> Any:
    """Return the statement, built once: every key that a data plane asks for takes it."""
    links = (api_keys.c.id, api_keys.c.parent_key_id, api_keys.c.granted_by)
    asked: sa.BindParameter[list[str]] = sa.bindparam("key_ids", expanding=True)
    first = sa.select(*links).where(api_keys.c.id.in_(asked))
    walk = first.cte("walk", recursive=True)
    walk = walk.union(
        sa.select(*links).where(
            sa.or_(api_keys.c.id == walk.c.parent_key_id, api_keys.c.id == walk.c.granted_by)
        )
    )
    return sa.select(api_keys).where(api_keys.c.id.in_(sa.select(walk.c.id)))


async def below(connection: AsyncConnection, key_id: str) -> list[KeyRow]:
    """Return every key below one, nearest first."""
    first = sa.select(api_keys.c.id, sa.literal(0).label("depth")).where(
        api_keys.c.parent_key_id == key_id
    )
    walk = first.cte("walk", recursive=True)
    walk = walk.union_all(
        sa.select(api_keys.c.id, walk.c.depth + 1).where(
            api_keys.c.parent_key_id == walk.c.id, walk.c.depth < MOST_LEVELS
        )
    )
    query = select_keys().join(walk, walk.c.id == api_keys.c.id).order_by(walk.c.depth)
    rows = [row_of(row) for row in (await connection.execute(query)).mappings()]
    # In a circle a key would come again, and be below itself.
    return list({row.id: row for row in rows if row.id != key_id}.values())


def _team_keys(organization_id: str, team_id: str) -> sa.Select[Any]:
    query: sa.Select[Any] = select_keys().where(
        api_keys.c.organization_id == organization_id,
        api_keys.c.team_id == team_id,
        api_keys.c.key_type == "team",
    )
    return query


async def had_team_key(connection: AsyncConnection, organization_id: str, team_id: str) -> bool:
    """Tell whether a team has a team-level key, alive or not."""
    query = _team_keys(organization_id, team_id).limit(1)
    return (await connection.execute(query)).first() is not None


async def team_key(
    connection: AsyncConnection, organization_id: str, team_id: str, now: int
) -> KeyRow | None:
    """Return the oldest live team-level key of a team: one that is suspended if need be.

    Else to suspend a team would be to let its next keys out of it.
    """
    query = (
        _team_keys(organization_id, team_id)
        .where(
            api_keys.c.status != "revoked",
            sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
        )
        .order_by(api_keys.c.status != "active", api_keys.c.created_at, api_keys.c.id)
        .limit(1)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else row_of(row)


async def revoke(
    connection: AsyncConnection, key_ids: Sequence[str], number: int, now: int
) -> None:
    """Mark keys as revoked."""
    statement = (
        sa.update(api_keys)
        .where(api_keys.c.id == sa.bindparam("key_id"))
        .values(status="revoked", revoked_at=now, version=number)
    )
    # One by one: there is a bound on the parameters of a statement, and none on the keys.
    # In the order of `touch_keys`, so that the two cannot lock each other out.
    await connection.execute(statement, [{"key_id": key_id} for key_id in sorted(key_ids)])


def select_keys() -> Any:
    """Return a query of keys with what may be shown of their newest secrets, for `row_of`."""
    newest = (
        sa.select(secrets.c.hash)
        .where(secrets.c.key_id == api_keys.c.id)
        .order_by(secrets.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    shown = secrets.alias()
    return sa.select(api_keys, shown.c.prefix, shown.c.last_four).select_from(
        api_keys.outerjoin(shown, shown.c.hash == newest)
    )


def row_of(row: Any) -> KeyRow:
    """Return a row of `select_keys`."""
    values = dict(row)
    values["document"] = _document.decode(values["document"])
    values["temporary"] = bool(values["temporary"])
    values["prefix"] = values.get("prefix") or ""
    values["last_four"] = values.get("last_four") or ""
    return KeyRow(**values)
