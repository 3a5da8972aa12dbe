"""Who calls the admin API, with which rights, and how far these reach.

Rights are named by `permissions` of a key, and nobody hands out what they do not
have: a key has a right if its own document and those of all its granters say so.
"""

from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp import __version__
from pdp.compile import Compiler
from pdp.control.resolve import resolve_within
from pdp.errors import Forbidden, Unauthorized
from pdp.key import CompiledKey
from pdp.model import KeyRecord, Resolved
from pdp.policy.permissions import RIGHTS
from pdp.refusal import key_denial
from pdp.secret import hash_secret, is_well_formed
from pdp.store.database import Database

_WRITING: Final = frozenset({"manage_keys", "manage_billing"})


class Origin(Struct, frozen=True):
    """Where a call comes from, for the audit log; empty is what is not known."""

    request_id: str = ""
    client_ip: str = ""
    user_agent: str = ""


class Actor(Struct, frozen=True):
    """Who asks, and what for: a key, within whose reach everything stays.

    `key_type` says how far it reaches, `read_only` that it only looks. `above` are the keys
    of its own two chains but itself, `parents` those whose limits and prohibitions bind it:
    what it does to them it would do to itself. `outgoing`: the secret that it showed is being
    rotated out. An `operator` sits at the machine and may do everything. `origin` is where it
    asks from.
    """

    key_id: str
    organization_id: str
    rights: frozenset[str] = frozenset()
    key_type: str = "application"
    team_id: str = ""
    above: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    operator: bool = False
    read_only: bool = False
    outgoing: bool = False
    secret_hash: bytes | None = None
    origin: Origin = Origin()

    def may(self, right: str) -> bool:
        """Tell whether the key has one of `RIGHTS`."""
        return self.operator or right in self.rights

    def require(self, right: str) -> None:
        """Raise `Forbidden` without one of `RIGHTS`."""
        if not self.may(right):
            raise Forbidden(
                f"this key lacks `{right}`: use one that has `permissions.{right}`, "
                "and whose granters have it"
            )


def operator_of(root_key_id: str, organization_id: str) -> Actor:
    """Return the operator of an organization, who acts as its root."""
    origin = Origin(user_agent=f"pdp/{__version__}")
    return Actor(
        root_key_id,
        organization_id,
        frozenset(RIGHTS),
        "organization",
        operator=True,
        origin=origin,
    )


async def authenticate(
    database: Database, pepper: bytes, raw_key: str, origin: Origin, now: int
) -> Actor:
    """Return who holds a raw key. Raises `Unauthorized` with the reason a Check would give."""
    if not raw_key:
        raise Unauthorized("missing_key", "no API key: send `Authorization: Bearer <key>`")
    if not is_well_formed(raw_key):
        raise _unknown()
    async with database.reading() as connection:
        key, actor = await _holder(connection, hash_secret(raw_key, pepper), "", now)
    _check_address(key, origin.client_ip)
    return msgspec.structs.replace(actor, origin=origin)


async def renewed(connection: AsyncConnection, actor: Actor, now: int) -> Actor:
    """Return an actor as it is in an open transaction: others may just have changed it.

    Raises `Unauthorized` if it is not alive any more.
    """
    if actor.operator:
        return actor
    _, now_is = await _holder(connection, actor.secret_hash, actor.key_id, now)
    return msgspec.structs.replace(now_is, origin=actor.origin)


async def _holder(
    connection: AsyncConnection, secret_hash: bytes | None, key_id: str, now: int
) -> tuple[CompiledKey, Actor]:
    _, resolved = await resolve_within(connection, secret_hash, key_id)
    if resolved is None:
        raise _unknown()
    key = Compiler().compile(resolved)
    if denial := key_denial(key, now):
        raise Unauthorized(denial.reason, denial.message)
    return key, msgspec.structs.replace(actor_of(resolved), secret_hash=secret_hash)


def _unknown() -> Unauthorized:
    return Unauthorized("invalid_api_key", "this API key is not known here: check it")


def actor_of(resolved: Resolved) -> Actor:
    """Return a key as the one who asks."""
    records = {record.id: record for record in resolved.records}
    key = records[resolved.key_id]
    granters = [records[key_id] for key_id in resolved.granters]
    return Actor(
        key_id=key.id,
        organization_id=key.organization_id,
        rights=rights_of(granters),
        key_type=_level_of(granters),
        team_id=key.team_id,
        above=frozenset((*resolved.parents, *resolved.granters)) - {key.id},
        parents=frozenset(resolved.parents) - {key.id},
        read_only=any(record.access == "read_only" for record in granters),
        outgoing=resolved.secret_expires_at is not None,
    )


def _level_of(granters: list[KeyRecord]) -> str:
    """Return the type of the first of a grant chain, as far as its granters reach.

    A team-level key for which another key answers that reaches less reaches what is below it.
    """
    key_type: str = granters[0].key_type
    narrow = any(record.key_type in ("user", "application") for record in granters)
    return "application" if narrow else key_type


def rights_of(granters: list[KeyRecord]) -> frozenset[str]:
    """Return the rights of the first of a grant chain: what all of it have."""
    return frozenset.intersection(*(_own_rights(record) for record in granters))


def _own_rights(record: KeyRecord) -> frozenset[str]:
    permissions = record.permissions or {}
    rights = frozenset(right for right in RIGHTS if permissions.get(right) is True)
    return rights - _WRITING if record.access == "read_only" else rights


def _check_address(key: CompiledKey, client_ip: str) -> None:
    refused = key.chain.address_fault(client_ip)
    if refused is not None:
        raise Unauthorized(refused.reason, refused.message)
