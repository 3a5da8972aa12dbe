"""Organizations and the installation's own facts in SQL."""

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.model import Moved
from pdp.quota.calendar import Calendar
from pdp.store.database import insert_into
from pdp.store.schema import api_keys, meta, organizations
from pdp.store.text import is_storable


class Organization(Struct, frozen=True):
    """An organization; its timezone places its days and months. Times as in `Moved`."""

    id: str
    name: str
    timezone: str
    created_at: int
    moved_at: int | None = None
    moved_day: int | None = None
    moved_month: int | None = None

    @property
    def moved(self) -> Moved | None:
        """The last change of the timezone, and the windows that were open then."""
        if self.moved_at is None or self.moved_day is None or self.moved_month is None:
            return None
        return Moved(self.moved_at, self.moved_day, self.moved_month)

    @property
    def calendar(self) -> Calendar:
        """Its days and months."""
        return Calendar(self.timezone, self.moved)


async def insert_organization(connection: AsyncConnection, organization: Organization) -> None:
    """Store a new organization."""
    values = msgspec.structs.asdict(organization)
    await connection.execute(sa.insert(organizations).values(**values))


async def get_organization(
    connection: AsyncConnection, organization_id: str | None
) -> Organization | None:
    """Return an organization by id; without an id, the oldest."""
    query = sa.select(organizations).order_by(organizations.c.created_at).limit(1)
    if organization_id is not None:
        if not is_storable(organization_id):
            return None
        query = query.where(organizations.c.id == organization_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else Organization(**row)


async def organization_of(connection: AsyncConnection, organization_id: str) -> Organization:
    """Return an organization that is there: an actor's, or a key's."""
    found = await get_organization(connection, organization_id)
    assert found is not None, "an organization is never deleted"
    return found


async def update_organization(connection: AsyncConnection, organization: Organization) -> None:
    """Store an organization that is there already."""
    values = msgspec.structs.asdict(organization)
    statement = sa.update(organizations).where(organizations.c.id == organization.id)
    await connection.execute(statement.values(**values))


async def root_key_id(connection: AsyncConnection, organization_id: str) -> str:
    """Return the id of an organization's root key: the one without a parent."""
    query = sa.select(api_keys.c.id).where(
        api_keys.c.organization_id == organization_id, api_keys.c.parent_key_id.is_(None)
    )
    found: str = (await connection.execute(query)).scalar_one()
    return found


async def recall(connection: AsyncConnection, name: str) -> str | None:
    """Return a fact, if it is stored."""
    found = await connection.execute(sa.select(meta.c.value).where(meta.c.name == name))
    value: str | None = found.scalar_one_or_none()
    return value


async def forget(connection: AsyncConnection, name: str) -> None:
    """Remove a fact."""
    await connection.execute(sa.delete(meta).where(meta.c.name == name))


async def remember(connection: AsyncConnection, name: str, value: str) -> str:
    """Store a fact unless it is there already; return what is there."""
    await connection.execute(
        insert_into(connection, meta).values(name=name, value=value).on_conflict_do_nothing()
    )
    found = await connection.execute(sa.select(meta.c.value).where(meta.c.name == name))
    stored: str = found.scalar_one()
    return stored
