"""Notice another pepper than the one that the database's keys were made with."""

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.errors import StartRefused
from pdp.secret import fingerprint_of
from pdp.store.keys import has_secrets
from pdp.store.organizations import forget, recall, remember

_FACT = "pepper_fingerprint"


async def bound_fingerprint(connection: AsyncConnection) -> str | None:
    """Return the fingerprint of the pepper that the keys were made with; None before any key."""
    return await recall(connection, _FACT) if await has_secrets(connection) else None


async def bind_pepper(connection: AsyncConnection, pepper: bytes) -> None:
    """Note the pepper that the first key is made with. Raises `StartRefused` for another one."""
    bound = await bound_fingerprint(connection)
    if bound is None:
        # There may be one of a pepper that no key was ever made with.
        await forget(connection, _FACT)
        await remember(connection, _FACT, fingerprint_of(pepper))
    else:
        check_pepper(bound, pepper, "")


def check_pepper(bound: str, pepper: bytes, file: str) -> None:
    """Raise `StartRefused` if the keys were made with another pepper.

    `file` is where the pepper comes from; empty: from PDP_KEY_PEPPER.
    """
    if bound == fingerprint_of(pepper):
        return
    what = f"PDP_DATA_DIR: `{file}` is" if file else "PDP_KEY_PEPPER:"
    how = "put back the right one, or set PDP_KEY_PEPPER to it" if file else "set the right one"
    raise StartRefused(
        f"{what} not the one that this database's keys were made with: no key would be known; {how}"
    )
