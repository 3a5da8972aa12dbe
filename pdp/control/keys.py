"""Use cases on keys: create, list, get, revoke. CLI and REST call these."""

import secrets as random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.admin_log import log_change
from pdp.control.key_document import KeyDocument, parse_key_document
from pdp.control.resource import resource_of, status_of
from pdp.errors import NotFound
from pdp.policy.node import compile_node
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.secret import hash_secret, last_four_of, make_secret, prefix_of
from pdp.store import changes
from pdp.store import keys as store
from pdp.store.database import Database
from pdp.store.organizations import Organization, get_organization, root_key_id
from pdp.wording import named, shown

Resource = dict[str, Any]

_PAGE = 1000


class Actor(Struct, frozen=True):
    """Who asks: a key, within whose reach everything stays."""

    key_id: str
    organization_id: str


class Keys:
    """Keys of one database. `now` is in ns and always an argument."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def actor(self, organization_id: str | None = None) -> Actor:
        """Return the root key of an organization (default: the oldest) as the one who asks."""
        async with self._database.reading() as connection:
            organization = await get_organization(connection, organization_id)
            if organization is None:
                what = (
                    f"organization {shown(organization_id)}" if organization_id else "organization"
                )
                raise NotFound(f"there is no {what}: run `pdp init`")
            return Actor(await root_key_id(connection, organization.id), organization.id)

    async def create(self, actor: Actor, body: Mapping[str, Any], now: int) -> Resource:
        """Make a key; the answer alone has its raw secret, as `api_key`.

        Raises `InvalidDocument` with every fault.
        """
        problems = Problems()
        document = parse_key_document(body, problems)
        if document is None:
            problems.raise_if_any()
        assert document is not None, "without a document there is a problem"
        async with self._database.writing() as connection:
            organization = await get_organization(connection, actor.organization_id)
            assert organization is not None, "an actor's organization exists"
            row = await self._place(connection, actor, document, organization, now, problems)
            problems.raise_if_any()
            row = msgspec.structs.replace(row, version=await changes.bump(connection))
            return await self._store(connection, actor, row, now)

    async def _place(
        self,
        connection: AsyncConnection,
        actor: Actor,
        document: KeyDocument,
        organization: Organization,
        now: int,
        problems: Problems,
    ) -> store.KeyRow:
        parent = await self._parent(connection, actor, document, now, problems)
        _agree(document, parent, problems)
        _belong(document, parent, problems)
        if document.expires_at is not None and document.expires_at <= now:
            problems.add("expires_at", "is in the past")
        row = store.KeyRow(
            id="key_" + random.token_hex(12),
            organization_id=actor.organization_id,
            version=0,
            status="active",
            key_type=document.key_type,
            name=document.name,
            description=document.description,
            team_id=document.team_id or parent.team_id,
            user_id=document.user_id or parent.user_id,
            parent_key_id=parent.id,
            granted_by=actor.key_id,
            permissions_apply_to=document.permissions_apply_to,
            environment=document.environment,
            document=document.authored,
            created_at=now,
            expires_at=document.expires_at,
        )
        # The key is compiled as the data plane will: what passes here decides there.
        record = row.record()
        compile_node(record, problems)
        compile_scope(record, Calendar(organization.timezone), problems)
        return row

    async def _parent(
        self,
        connection: AsyncConnection,
        actor: Actor,
        document: KeyDocument,
        now: int,
        problems: Problems,
    ) -> store.KeyRow:
        """Return the key above: parent follows scope, not creator."""
        root = await store.get_key(connection, await root_key_id(connection, actor.organization_id))
        assert root is not None, "an organization has a root key"
        if document.parent_key_id:
            chosen = await store.get_key(connection, document.parent_key_id)
            if chosen is None or chosen.organization_id != actor.organization_id:
                problems.add("parent_key_id", f"there is no key {shown(document.parent_key_id)}")
                return root
            if (status := status_of(chosen, now)) != "active":
                what = named(chosen.name, chosen.id)
                problems.add("parent_key_id", f"{what} is {status}: choose one that is active")
            return chosen
        if document.team_id and document.key_type in ("user", "application"):
            team = await store.team_key(connection, actor.organization_id, document.team_id, now)
            return team or root
        return root

    async def _store(
        self, connection: AsyncConnection, actor: Actor, row: store.KeyRow, now: int
    ) -> Resource:
        raw = make_secret(row.environment, random.token_bytes(24))
        secret = store.SecretRow(
            hash_secret(raw, self._pepper), row.id, prefix_of(raw), last_four_of(raw), now
        )
        row = msgspec.structs.replace(row, prefix=secret.prefix, last_four=secret.last_four)
        await store.insert_key(connection, row)
        await store.insert_secret(connection, secret)
        await changes.note(connection, row.version, [row.id], secret.hash)
        await log_change(connection, actor.key_id, "keys.create", [row], now)
        return {**resource_of(row, now), "api_key": raw}

    async def every(self, actor: Actor, now: int) -> AsyncIterator[Resource]:
        """Yield all keys of the organization as of one moment, as `list` does a page of them."""
        after = None
        async with self._database.reading() as connection:
            while rows := await store.list_keys(connection, actor.organization_id, _PAGE, after):
                for row in rows:
                    yield resource_of(row, now)
                after = rows[-1].created_at, rows[-1].id

    async def list(self, actor: Actor, now: int, limit: int = _PAGE) -> list[Resource]:
        """Return the organization's first keys, oldest first, revoked ones included."""
        async with self._database.reading() as connection:
            rows = await store.list_keys(connection, actor.organization_id, limit, None)
        return [resource_of(row, now) for row in rows]

    async def get(self, actor: Actor, key_id: str, now: int) -> Resource:
        """Return one key. Raises `NotFound`."""
        async with self._database.reading() as connection:
            return resource_of(await self._own(connection, actor, key_id), now)

    async def revoke(self, actor: Actor, key_id: str, now: int, *, cascade: bool) -> Resource:
        """Kill a key's secrets and its temporary descendants; with `cascade`, all descendants.

        Revoking again changes nothing. The answer adds `live_children`: how many
        keys below go on working. Raises `NotFound`.
        """
        async with self._database.writing() as connection:
            row = await self._own(connection, actor, key_id)
            below = await store.below(connection, key_id)
            doomed = [
                each
                for each in (row, *below)
                if each.status != "revoked" and (each is row or cascade or each.temporary)
            ]
            if doomed:
                await self._revoke(connection, actor, doomed, now)
                row = await self._own(connection, actor, key_id)
            gone = {each.id for each in doomed}
            return {
                **resource_of(row, now),
                "live_children": sum(
                    each.id not in gone and status_of(each, now) == "active" for each in below
                ),
            }

    async def _revoke(
        self, connection: AsyncConnection, actor: Actor, doomed: Sequence[store.KeyRow], now: int
    ) -> None:
        key_ids = [each.id for each in doomed]
        number = await changes.bump(connection)
        await store.revoke(connection, key_ids, number, now)
        await changes.note(connection, number, key_ids)
        revoked = [msgspec.structs.replace(each, status="revoked") for each in doomed]
        await log_change(connection, actor.key_id, "keys.revoke", revoked, now)

    async def _own(self, connection: AsyncConnection, actor: Actor, key_id: str) -> store.KeyRow:
        row = await store.get_key(connection, key_id)
        if row is None or row.organization_id != actor.organization_id:
            raise NotFound(f"there is no key {shown(key_id)}")
        return row


def _agree(document: KeyDocument, parent: store.KeyRow, problems: Problems) -> None:
    """A key belongs where its parent does."""
    for name in ("organization_id", "team_id", "user_id"):
        asked, above = getattr(document, name), getattr(parent, name)
        if asked and above and asked != above:
            problems.add(name, f"{shown(asked)} is not the parent key's {shown(above)}")


def _belong(document: KeyDocument, parent: store.KeyRow, problems: Problems) -> None:
    """A team-level key has a team; an organization-level key has nothing but its organization."""
    if document.key_type == "team" and not (document.team_id or parent.team_id):
        problems.add("team_id", "missing: a team-level key has one")
    if document.key_type == "organization":
        for name in ("team_id", "user_id"):
            if getattr(document, name):
                problems.add(name, "an organization-level key has none: leave it out")
        if parent.key_type != "organization":
            message = "an organization-level key goes below another one: choose such a parent"
            problems.add("parent_key_id", message)
