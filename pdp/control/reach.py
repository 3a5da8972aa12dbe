"""How far a key that manages others reaches, and what it may change there.

An organization-level key reaches its organization, a team-level key its team (the keys
below it and those with its team_id), any other key those below it.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.access import Actor
from pdp.errors import Forbidden, NotFound
from pdp.store import keys as store
from pdp.store.key_list import Reach
from pdp.store.keys import KeyRow
from pdp.wording import named, shown


def reach_of(actor: Actor) -> Reach:
    """Return what an actor's right to manage keys reaches, as rows of the database."""
    if actor.operator or actor.key_type == "organization":
        return Reach(actor.organization_id)
    if actor.key_type == "team":
        # What is below a team's key is the team's: it has inherited the team_id.
        return Reach(actor.organization_id, team_id=actor.team_id)
    return Reach(actor.organization_id, below=actor.key_id)


async def reaches(connection: AsyncConnection, actor: Actor, row: KeyRow) -> bool:
    """Tell whether a key lies within the actor's reach; the actor itself does."""
    if row.organization_id != actor.organization_id:
        return False
    if actor.operator or actor.key_type == "organization" or row.id == actor.key_id:
        return True
    if actor.key_type == "team" and row.team_id == actor.team_id:
        return True
    return actor.key_id in await store.chain(connection, row.id, "parent_key_id")


async def seen(connection: AsyncConnection, actor: Actor, key_id: str) -> KeyRow:
    """Return a key that the actor may look at: itself, and what it manages.

    Raises `NotFound`, also for what is only out of reach: nobody learns what else there is.
    """
    # No id has what no database would take.
    row = await store.get_key(connection, key_id) if key_id.isprintable() else None
    if row is not None and (
        row.id == actor.key_id
        or (actor.may("manage_keys") and await reaches(connection, actor, row))
    ):
        return row
    raise NotFound(f"there is no key {shown(key_id)}")


async def managed(connection: AsyncConnection, actor: Actor, key_id: str) -> KeyRow:
    """Return a key that the actor may change: itself, or one that it manages.

    Raises `NotFound`, or `Forbidden` for a key above the actor: what binds a key is not
    its own to change.
    """
    if key_id != actor.key_id:
        actor.require("manage_keys")
    row = await seen(connection, actor, key_id)
    if row.id in actor.above and not actor.operator:
        raise Forbidden(
            f"{named(row.name, row.id)} is above the key that asks: use one that is not bound by it"
        )
    return row


async def is_bound_alike(connection: AsyncConnection, actor: Actor, key_id: str) -> bool:
    """Tell whether all that binds the actor from above binds what is at or below a key, too."""
    if actor.operator:
        return True
    return actor.parents <= set(await store.chain(connection, key_id, "parent_key_id"))


async def has_granted(connection: AsyncConnection, actor: Actor, row: KeyRow) -> bool:
    """Tell whether the actor's own guards bind a key: it is the actor, or granted by it."""
    if actor.operator or row.id == actor.key_id:
        return True
    return actor.key_id in await store.chain(connection, row.id, "granted_by")
