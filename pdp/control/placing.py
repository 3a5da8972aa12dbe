"""Where a new key goes: the key above follows its scope, within the reach of who makes it."""

import secrets as random

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import Actor
from pdp.control.key_document import KeyDocument
from pdp.control.reach import is_bound_alike, reaches
from pdp.control.resource import status_of
from pdp.errors import Forbidden
from pdp.policy.node import compile_node
from pdp.problems import Problems
from pdp.quota.compile import compile_scope
from pdp.store import keys as store
from pdp.store.organizations import Organization, root_key_id
from pdp.wording import named, shown

MOST_LEVELS = 32
"""Of a tree of keys: every Check counts at each level above its key."""


async def place(
    connection: AsyncConnection,
    actor: Actor,
    document: KeyDocument,
    organization: Organization,
    now: int,
    problems: Problems,
    *,
    temporary: bool = False,
) -> store.KeyRow:
    """Return the row of a new key, not stored yet; faults go to `problems`.

    Raises `Forbidden` where the place is out of the actor's reach.
    """
    parent = await _parent(connection, actor, document, now, problems, temporary=temporary)
    await _check_place(connection, actor, document, parent, problems)
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
        temporary=temporary,
        permissions_apply_to=document.permissions_apply_to,
        environment=document.environment,
        document=document.authored,
        created_at=now,
        expires_at=_end(document, parent) if temporary else document.expires_at,
    )
    check_compiles(row, organization, problems)
    return row


async def _check_place(
    connection: AsyncConnection,
    actor: Actor,
    document: KeyDocument,
    parent: store.KeyRow,
    problems: Problems,
) -> None:
    _agree(document, parent, problems)
    _belong(document, parent, problems)
    if document.key_type == "team" and actor.key_type not in ("organization", "team"):
        problems.add("key_type", "a team-level key is made by an organization- or team-level one")
    if len(await store.chain(connection, parent.id, "parent_key_id")) >= MOST_LEVELS:
        problems.add("parent_key_id", f"{MOST_LEVELS} keys are above it: choose a higher one")
    if len(await store.chain(connection, actor.key_id, "granted_by")) >= MOST_LEVELS:
        problems.add("body", f"{MOST_LEVELS} keys grant what you may: ask one further up")


def _end(document: KeyDocument, parent: store.KeyRow) -> int | None:
    """A temporary key ends with the key above it, which made it."""
    ends = (document.expires_at, parent.expires_at)
    return min((end for end in ends if end is not None), default=None)


def check_compiles(row: store.KeyRow, organization: Organization, problems: Problems) -> None:
    """Compile a key as the data plane will: what passes here decides there."""
    record = row.record()
    compile_node(record, problems)
    compile_scope(record, organization.calendar, problems)


async def _parent(
    connection: AsyncConnection,
    actor: Actor,
    document: KeyDocument,
    now: int,
    problems: Problems,
    *,
    temporary: bool,
) -> store.KeyRow:
    own = await store.get_key(connection, actor.key_id)
    assert own is not None, "who asks is a key"
    if document.parent_key_id:
        parent = await _chosen(connection, actor, own, document.parent_key_id, now, problems)
    else:
        parent = own if temporary else await _by_scope(connection, actor, own, document, now)
    if not await reaches(connection, actor, parent):
        # Nothing is said of it: nobody learns what there is beyond their reach.
        raise Forbidden(
            "the key would go where the key that asks does not reach: name a `parent_key_id` or "
            "`team_id` within its reach"
        )
    if not await is_bound_alike(connection, actor, parent.id):
        raise Forbidden(
            f"the key would go below {named(parent.name, parent.id)}, which is not below all that "
            "binds the key that asks: name another `parent_key_id`, or `team_id`"
        )
    return parent


async def _chosen(
    connection: AsyncConnection,
    actor: Actor,
    own: store.KeyRow,
    key_id: str,
    now: int,
    problems: Problems,
) -> store.KeyRow:
    chosen = await store.get_key(connection, key_id)
    if chosen is None or not await reaches(connection, actor, chosen):
        problems.add("parent_key_id", f"there is no key {shown(key_id)}")
        return own
    if (status := status_of(chosen, now)) != "active":
        what = named(chosen.name, chosen.id)
        problems.add("parent_key_id", f"{what} is {status}: choose one that is active")
    return chosen


async def _by_scope(
    connection: AsyncConnection, actor: Actor, own: store.KeyRow, document: KeyDocument, now: int
) -> store.KeyRow:
    """Return the key above: parent follows scope, not creator.

    What a team's own key makes is the team's; other keys make keys below themselves.
    """
    if not actor.operator and actor.key_type not in ("organization", "team"):
        return own
    team_id = document.team_id or ("" if actor.operator else actor.team_id)
    if team_id and document.key_type in ("user", "application"):
        team = await store.team_key(connection, actor.organization_id, team_id, now)
        if team is not None:
            return team
    root = await store.get_key(connection, await root_key_id(connection, actor.organization_id))
    assert root is not None, "an organization has a root key"
    return root


async def warnings_of_place(
    connection: AsyncConnection, actor: Actor, row: store.KeyRow, now: int
) -> list[str]:
    """Return what to tell of a new key of a team that does not bind it, or is suspended."""
    if not row.team_id or row.key_type not in ("user", "application"):
        return []
    if not actor.operator and actor.key_type not in ("organization", "team"):
        return []  # Nobody learns what there is beyond their reach.
    where = (connection, row.organization_id, row.team_id)
    team = await store.team_key(*where, now)
    if team is not None and team.status == "suspended" and row.parent_key_id == team.id:
        what = named(team.name, team.id)
        return [f"{what} is suspended: this key is denied until that one is resumed"]
    if team is not None or not await store.had_team_key(*where):
        return []
    above = await store.chain(connection, row.parent_key_id or "", "parent_key_id")
    found = await store.get_keys(connection, above)
    if any(each.team_id == row.team_id for each in found.values()):
        return []
    return [
        f"team {shown(row.team_id)} has no team-level key that lives: no limit of the team "
        "binds this key"
    ]


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
