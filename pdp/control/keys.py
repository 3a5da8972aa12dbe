"""Use cases on keys: make, show, change, rotate, suspend, revoke. CLI and REST call these."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import msgspec

from pdp.control import access, lifecycle, listing
from pdp.control.access import Actor
from pdp.control.change import Change, changing
from pdp.control.grants import is_for_who_changes, warnings_of
from pdp.control.idempotency import Once, begun, done
from pdp.control.key_document import KeyDocument, parse_key_document
from pdp.control.listing import KeyFilter
from pdp.control.patching import patched
from pdp.control.placing import check_compiles, place, warnings_of_place
from pdp.control.reach import is_bound_alike, managed, reach_of, seen
from pdp.control.resource import resource_of
from pdp.control.rotation import end_old_secrets, grace_of, new_secret
from pdp.control.temporary import check_end, expires_in, parse_temporary
from pdp.control.widening import check_narrower, widening_of
from pdp.errors import Conflict, Forbidden, NotFound, PreconditionFailed
from pdp.problems import Problems
from pdp.store import key_list
from pdp.store import keys as store
from pdp.store.database import Database
from pdp.store.organizations import get_organization, organization_of, root_key_id
from pdp.wording import named, shown

__all__ = ["Actor", "KeyFilter", "Keys", "Once", "Resource"]

Resource = dict[str, Any]


class Keys:
    """Keys of one database. `now` is in ns and always an argument.

    What an actor may not see is `NotFound`, what it may not do is `Forbidden`.
    """

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    async def actor(self, organization_id: str | None = None) -> Actor:
        """Return the operator of an organization (default: the oldest), who acts as its root."""
        async with self._database.reading() as connection:
            organization = await get_organization(connection, organization_id)
            if organization is None:
                what = (
                    f"organization {shown(organization_id)}" if organization_id else "organization"
                )
                raise NotFound(f"there is no {what}: run `pdp init`")
            root = await root_key_id(connection, organization.id)
            return access.operator_of(root, organization.id)

    async def authenticate(self, raw_key: str, client_ip: str, now: int) -> Actor:
        """Return who holds a raw key. Raises `Unauthorized`."""
        origin = access.Origin(client_ip=client_ip)
        return await access.authenticate(self._database, self._pepper, raw_key, origin, now)

    async def create(
        self, actor: Actor, body: object, now: int, once: Once | None = None
    ) -> Resource:
        """Make a key; the answer alone has its raw secret, as `api_key`.

        Raises `InvalidDocument` with every fault. `warnings` says what of it is of no effect.
        """
        problems = Problems()
        document = parse_key_document(body, problems)
        return await self._create(actor, document, problems, now, once)

    async def create_temporary(
        self, actor: Actor, body: object, now: int, once: Once | None = None
    ) -> Resource:
        """Make a key below the one that asks, which dies with it.

        `expires_in` is in seconds; the answer has those that there are, for the key does not
        outlive the one that asks.
        """
        problems = Problems()
        document = parse_temporary(body, now, problems)
        made = await self._create(actor, document, problems, now, once, temporary=True)
        return {**made, "expires_in": expires_in(made["expires_at"], now)}

    async def _create(
        self,
        actor: Actor,
        document: KeyDocument | None,
        problems: Problems,
        now: int,
        once: Once | None,
        *,
        temporary: bool = False,
    ) -> Resource:
        actor.require("manage_keys")
        if document is None:
            problems.raise_if_any()
        assert document is not None, "without a document there is a problem"
        async with changing(self._database, actor, now) as change:
            actor = change.actor
            actor.require("manage_keys")
            if made := await begun(change.connection, actor, once, now):
                return await self._replayed(change, made)
            organization = await organization_of(change.connection, actor.organization_id)
            row = await place(
                change.connection, actor, document, organization, now, problems, temporary=temporary
            )
            problems.raise_if_any()
            row = msgspec.structs.replace(row, version=await change.number())
            await done(change.connection, actor, once, row.id)
            return await self._store(change, row)

    async def _store(self, change: Change, row: store.KeyRow) -> Resource:
        raw, secret = new_secret(row, self._pepper, change.now)
        row = msgspec.structs.replace(row, prefix=secret.prefix, last_four=secret.last_four)
        await store.insert_key(change.connection, row)
        await store.insert_secret(change.connection, secret)
        await change.tell("keys.create", [row], secret_hash=secret.hash)
        told = await warnings_of_place(change.connection, change.actor, row, change.now)
        return {**resource_of(row, change.now), **await _warned(change, row, told), "api_key": raw}

    async def _replayed(self, change: Change, key_id: str) -> Resource:
        row = await store.get_key(change.connection, key_id)
        assert row is not None, "keys are never deleted"
        return {**resource_of(row, change.now), "idempotent_replayed": True}

    async def list(
        self, actor: Actor, now: int, wanted: KeyFilter | None = None, cursor: str | None = None
    ) -> Resource:
        """Return {"keys": [...], "next_cursor"}: what the actor manages, oldest first.

        Raises `InvalidDocument` for a cursor that is none.
        """
        actor.require("manage_keys")
        query = listing.wanted_of(wanted or KeyFilter(), cursor, now)
        async with self._database.reading() as connection:
            rows = await key_list.list_keys(connection, reach_of(actor), query)
        return listing.page_of(rows, query, now)

    async def every(
        self, actor: Actor, now: int, wanted: KeyFilter | None = None
    ) -> AsyncIterator[Resource]:
        """Yield all keys that the actor manages, oldest first; `limit` is that of a page."""
        cursor: str | None = None
        while True:
            page = await self.list(actor, now, wanted, cursor)
            for key in page["keys"]:
                yield key
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def get(self, actor: Actor, key_id: str, now: int) -> Resource:
        """Return one key."""
        async with self._database.reading() as connection:
            return resource_of(await seen(connection, actor, key_id), now)

    async def update(
        self,
        actor: Actor,
        key_id: str,
        patch: Mapping[str, Any] | object,
        now: int,
        if_match: Collection[int] | None = None,
    ) -> Resource:
        """Change a key by a JSON Merge Patch, if it is at one of the versions `if_match`.

        Raises `InvalidDocument` with every fault, `PreconditionFailed` for another version.
        """
        problems = Problems()
        async with changing(self._database, actor, now) as change:
            actor = change.actor
            actor.require("manage_keys")
            before = await managed(change.connection, actor, key_id)
            _match(before, if_match)
            organization = await organization_of(change.connection, actor.organization_id)
            after = patched(before, patch, actor, now, problems)
            check_compiles(after, organization, problems)
            await _check_end(change, before, after, problems)
            problems.raise_if_any()
            if before.status == "revoked":
                raise Conflict(f"{named(before.name, before.id)} is revoked: make a new one")
            after = await _granted(change, before, after)
            if after != before:
                after = await change.update("keys.update", before, after)
            taken = after.granted_by != before.granted_by
            return {**resource_of(after, now), **await _warned(change, after, taken=taken)}

    async def rotate(
        self,
        actor: Actor,
        key_id: str,
        body: object,
        now: int,
        once: Once | None = None,
        if_match: Collection[int] | None = None,
    ) -> Resource:
        """Give a key a new secret; the old ones live on for `grace_period` seconds, default 0.

        The answer alone has the raw secret, as `api_key`. A suspended key stays so. Raises
        `Conflict` for a key that is revoked or expired, `PreconditionFailed` as `update` does.
        """
        grace = grace_of(body)
        async with changing(self._database, actor, now) as change:
            before = await managed(change.connection, change.actor, key_id)
            if await begun(change.connection, actor, once, now):
                return await self._replayed(change, key_id)
            _match(before, if_match)
            await lifecycle.check_rotation(change, before)
            at = await end_old_secrets(change.connection, key_id, grace, now)
            raw, secret = new_secret(before, self._pepper, at)
            await store.insert_secret(change.connection, secret)
            shown_now = {"prefix": secret.prefix, "last_four": secret.last_four}
            after = msgspec.structs.replace(before, rotated_at=now, **shown_now)
            after = await change.update("keys.rotate", before, after, secret.hash)
            await done(change.connection, actor, once, key_id)
            return {**resource_of(after, now), "api_key": raw}

    async def suspend(
        self, actor: Actor, key_id: str, now: int, if_match: Collection[int] | None = None
    ) -> Resource:
        """Stop a key's own secrets until it is resumed. Raises `Conflict` if it is revoked."""
        async with changing(self._database, actor, now) as change:
            await _check_match(change, key_id, if_match)
            return await lifecycle.suspend(change, key_id, "keys.suspend")

    async def resume(
        self, actor: Actor, key_id: str, now: int, if_match: Collection[int] | None = None
    ) -> Resource:
        """Let a suspended key go on. Raises `Conflict` if it is revoked."""
        async with changing(self._database, actor, now) as change:
            await _check_match(change, key_id, if_match)
            return await lifecycle.resume(change, key_id)

    async def report_compromised(
        self,
        actor: Actor,
        key_id: str,
        body: object,
        now: int,
        if_match: Collection[int] | None = None,
    ) -> Resource:
        """Suspend a key at once, and write down why: `reason`, a text."""
        reason = lifecycle.reason_of(body)
        async with changing(self._database, actor, now) as change:
            await _check_match(change, key_id, if_match)
            return await lifecycle.suspend(change, key_id, "keys.report_compromised", reason)

    async def revoke(
        self,
        actor: Actor,
        key_id: str,
        now: int,
        *,
        cascade: bool,
        if_match: Collection[int] | None = None,
    ) -> Resource:
        """Kill a key's secrets and its temporary descendants; with `cascade`, all descendants.

        Revoking again changes nothing. The answer adds `live_children`: how many
        keys below go on working. Raises `PreconditionFailed` as `update` does.
        """
        async with changing(self._database, actor, now) as change:
            await _check_match(change, key_id, if_match)
            return await lifecycle.revoke(change, key_id, cascade=cascade)


async def _check_match(change: Change, key_id: str, if_match: Collection[int] | None) -> None:
    if if_match is not None:
        _match(await managed(change.connection, change.actor, key_id), if_match)


def _match(row: store.KeyRow, if_match: Collection[int] | None) -> None:
    if if_match is not None and row.version not in if_match:
        raise PreconditionFailed(
            f"{named(row.name, row.id)} has changed meanwhile, to version {row.version}: "
            "get it again and repeat what you want to change"
        )


async def _check_end(
    change: Change, before: store.KeyRow, after: store.KeyRow, problems: Problems
) -> None:
    if not after.temporary or after.expires_at == before.expires_at:
        return
    parent = await store.get_key(change.connection, after.parent_key_id or "")
    assert parent is not None, "a temporary key stands below the one that made it"
    check_end(after, parent, problems)


async def _granted(change: Change, before: store.KeyRow, after: store.KeyRow) -> store.KeyRow:
    """Have who gives a key more answer for it with its own rights.

    A key does not widen itself. Who widens another one that others granted, or names in it
    what those below him who granted it have not, takes the grant over: his own guards bind it
    from now on, and theirs no more.
    """
    actor = change.actor
    if before.id == actor.key_id:
        if not actor.operator:
            check_narrower(before, after)
        return after
    if await _is_to_answer(change, before, after):
        after = msgspec.structs.replace(after, granted_by=actor.key_id)
    taken = after.granted_by != before.granted_by
    if taken and not await is_bound_alike(change.connection, actor, after.id):
        raise Forbidden(
            f"{named(after.name, after.id)} is not below all that binds the key that asks, which "
            "cannot answer for it: use a key above both"
        )
    return after


async def _is_to_answer(change: Change, before: store.KeyRow, after: store.KeyRow) -> bool:
    chain = (await store.chain(change.connection, after.id, "granted_by"))[1:]
    if change.actor.key_id not in chain:
        return not change.actor.operator and bool(widening_of(before, after).rights)
    place = chain.index(change.actor.key_id)
    found = await store.get_keys(change.connection, chain)
    granters = [found[key_id] for key_id in chain]
    return is_for_who_changes(before, after, granters[:place], granters[place:])


async def _warned(
    change: Change, row: store.KeyRow, told: Sequence[str] = (), *, taken: bool = False
) -> dict[str, list[str]]:
    """Return what to tell of a key that was made or changed, if anything, after `told`."""
    chain = (await store.chain(change.connection, row.id, "granted_by"))[1:]
    found = await store.get_keys(change.connection, chain)
    warnings = [*told, *warnings_of(row, [found[key_id] for key_id in chain])]
    if taken:
        warnings.append(f"the grant is taken over by {row.granted_by}, whose own rights bind it")
    if row.expires_at is not None and row.expires_at <= change.now:
        warnings.append("expires_at is in the past: the key is expired already")
    return {"warnings": warnings} if warnings else {}
