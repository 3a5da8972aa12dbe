"""Notice another pepper than the one that the database's keys were made with."""

from pdp.errors import StartRefused
from pdp.secret import fingerprint_of
from pdp.store.database import Database
from pdp.store.organizations import remember


async def check_pepper(database: Database, pepper: bytes) -> None:
    """Raise `StartRefused` if the database's keys were hashed with another pepper."""
    fingerprint = fingerprint_of(pepper)
    async with database.writing() as connection:
        stored = await remember(connection, "pepper_fingerprint", fingerprint)
    if stored != fingerprint:
        raise StartRefused(
            "PDP_KEY_PEPPER: not the one that this database's keys were made with: no key "
            "would be known; set the right one"
        )
