"""What a caller may see of the log and of usage, and what to say where it may not."""

from pdp.control.access import Actor
from pdp.errors import Forbidden, NotFound
from pdp.store.database import Database
from pdp.store.sight import Sight, sees_key
from pdp.wording import shown


def sight_of(actor: Actor) -> Sight:
    """Return what a caller sees: its own key; with `view_all_usage` all that it reaches.

    That is the organization for an operator or an organization-level key, its team for a
    team-level key, and the keys below it for any other.
    """
    organization_id = actor.organization_id
    if not actor.may("view_all_usage"):
        return Sight(organization_id, key_id=actor.key_id)
    if actor.operator or actor.key_type == "organization":
        return Sight(organization_id)
    if actor.key_type == "team" and actor.team_id:
        return Sight(organization_id, team_id=actor.team_id)
    return Sight(organization_id, key_id=actor.key_id, below=True)


def check_asked(sight: Sight, key_id: str | None) -> None:
    """Raise `Forbidden` where somebody who only sees one key asks for another."""
    if key_id is not None and sight.key_id not in ("", key_id) and not sight.below:
        raise Forbidden(
            f"this key does not see key {shown(key_id)}: use one that has "
            "`permissions.view_all_usage`"
        )


async def check_known(database: Database, sight: Sight, key_id: str) -> None:
    """Raise `NotFound` for a key that is not there or not in sight.

    Nobody learns which of these it is.
    """
    async with database.reading() as connection:
        if not await sees_key(connection, sight, key_id):
            raise NotFound(f"there is no key {shown(key_id)}")
