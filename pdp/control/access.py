"""Who calls the admin API, with which rights, and how far these reach.

Rights are named by `permissions` of a key, and nobody hands out what they do not
have: a key has a right if its own document and those of all its granters say so.
"""

from typing import Final

from msgspec import Struct

from pdp.compile import Compiler
from pdp.control.resolve import resolve
from pdp.errors import Forbidden, Unauthorized
from pdp.key import CompiledKey
from pdp.model import KeyRecord, Resolved
from pdp.refusal import key_denial
from pdp.secret import hash_secret, is_well_formed
from pdp.store.database import Database

RIGHTS: Final = ("manage_keys", "view_all_usage", "manage_billing")

_WRITING: Final = frozenset({"manage_keys", "manage_billing"})


class Actor(Struct, frozen=True):
    """Who asks, and what for: a key, within whose reach everything stays.

    `above` are the keys of its own two chains but itself, `parents` those whose limits
    and prohibitions bind it: what it does to them it would do to itself. An `operator`
    sits at the machine and may do everything.
    """

    key_id: str
    organization_id: str
    rights: frozenset[str] = frozenset()
    key_type: str = "application"
    team_id: str = ""
    above: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()
    operator: bool = False

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


async def authenticate(
    database: Database, pepper: bytes, raw_key: str, client_ip: str, now: int
) -> Actor:
    """Return who holds a raw key. Raises `Unauthorized` with the reason a Check would give."""
    if not raw_key:
        raise Unauthorized("missing_key", "no API key: send `Authorization: Bearer <key>`")
    unknown = Unauthorized("invalid_api_key", "this API key is not known here: check it")
    if not is_well_formed(raw_key):
        raise unknown
    _, resolved = await resolve(database, hash_secret(raw_key, pepper), "")
    if resolved is None:
        raise unknown
    key = Compiler().compile(resolved)
    if denial := key_denial(key, now):
        raise Unauthorized(denial.reason, denial.message)
    _check_address(key, client_ip)
    return actor_of(resolved)


def actor_of(resolved: Resolved) -> Actor:
    """Return a key as the one who asks."""
    records = {record.id: record for record in resolved.records}
    key = records[resolved.key_id]
    return Actor(
        key_id=key.id,
        organization_id=key.organization_id,
        rights=rights_of([records[key_id] for key_id in resolved.granters]),
        key_type=key.key_type,
        team_id=key.team_id,
        above=frozenset((*resolved.parents, *resolved.granters)) - {key.id},
        parents=frozenset(resolved.parents) - {key.id},
    )


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
