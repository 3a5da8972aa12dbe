"""Make an organization and its root key: the first thing that happens in a database."""

import secrets as random
from typing import Any

from msgspec import Struct

from pdp.control.access import operator_of
from pdp.control.admin_log import log_change
from pdp.control.pepper import bind_pepper
from pdp.errors import InvalidDocument, Problem
from pdp.policy.daytime import is_timezone
from pdp.secret import hash_secret, last_four_of, make_secret, prefix_of
from pdp.store import changes
from pdp.store import keys as store
from pdp.store.database import Database
from pdp.store.organizations import (
    Organization,
    get_organization,
    insert_organization,
    root_key_id,
)
from pdp.wording import shown


class Initialized(Struct, frozen=True):
    """An organization with its root key; `api_key` is empty when they were there before."""

    organization_id: str
    key_id: str
    api_key: str = ""

    def __repr__(self) -> str:
        """Say nothing of the raw key: a repr may end up anywhere."""
        return f"Initialized(organization_id={self.organization_id!r}, key_id={self.key_id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As `repr`: rich would look at the fields."""
        return [("organization_id", self.organization_id), ("key_id", self.key_id)]


async def initialize(
    database: Database,
    pepper: bytes,
    now: int,
    organization_id: str | None,
    name: str,
    timezone: str,
) -> Initialized:
    """Make an organization with its root key, once; again, return what is there.

    Without an id, any organization counts as the one that is there. Raises
    `InvalidDocument` for a timezone, id or name that is none.
    """
    _check(organization_id, name, timezone)
    async with database.writing() as connection:
        await changes.lock(connection)
        present = await get_organization(connection, organization_id)
        if present is not None:
            return Initialized(present.id, await root_key_id(connection, present.id))
        await bind_pepper(connection, pepper)
        organization = Organization(
            organization_id or "org_" + random.token_hex(8), name, timezone, now
        )
        await insert_organization(connection, organization)
        raw = make_secret("prod", random.token_bytes(24))
        number = await changes.bump(connection)
        row = _root_key(organization, number)
        secret = store.SecretRow(
            hash_secret(raw, pepper), row.id, prefix_of(raw), last_four_of(raw), now
        )
        await store.insert_key(connection, row)
        await store.insert_secret(connection, secret)
        await changes.note(connection, number, [row.id], secret.hash)
        operator = operator_of(row.id, organization.id)
        await log_change(connection, operator, "organizations.create", [row], now)
        return Initialized(organization.id, row.id, raw)


def _root_key(organization: Organization, number: int) -> store.KeyRow:
    rights = {"manage_keys": True, "view_all_usage": True, "manage_billing": True}
    return store.KeyRow(
        id="key_" + random.token_hex(12),
        organization_id=organization.id,
        version=number,
        status="active",
        key_type="organization",
        name="root",
        document=store.Document(permissions=rights),
        created_at=organization.created_at,
    )


def _check(organization_id: str | None, name: str, timezone: str) -> None:
    problems = []
    if organization_id is not None and not (
        0 < len(organization_id) <= 128
        and organization_id.isascii()
        and organization_id.isprintable()
        and organization_id == organization_id.strip()
    ):
        message = "not printable ASCII, up to 128 characters, without blanks around it"
        problems.append(Problem("organization-id", message))
    if fault := name_fault(name):
        problems.append(Problem("name", fault))
    if fault := timezone_fault(timezone):
        problems.append(Problem("timezone", fault))
    if problems:
        raise InvalidDocument(problems)


def name_fault(name: object) -> str:
    """Return what is wrong with the name of an organization, empty if nothing is."""
    if (
        not isinstance(name, str)
        or len(name) > 256
        or not name.isprintable()
        or (name and not name.strip())
    ):
        return "not printable text, up to 256 characters"
    return ""


def timezone_fault(timezone: object) -> str:
    """Return what is wrong with a timezone, empty if nothing is."""
    if isinstance(timezone, str) and is_timezone(timezone):
        return ""
    return f"{shown(str(timezone))} is not an IANA timezone: use one like `Europe/Berlin`"
