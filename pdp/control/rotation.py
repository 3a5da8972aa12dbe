"""Secrets of a key: its first, and new ones beside which the old live on for a while."""

import secrets as random
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.problems import Problems
from pdp.secret import hash_secret, last_four_of, make_secret, prefix_of
from pdp.store import key_changes
from pdp.store import keys as store
from pdp.wording import printable

MOST_LIVE: Final = 5
"""Secrets of one key that are alive at once."""
LONGEST_GRACE: Final = 30 * 86_400
"""Seconds."""

_SECOND: Final = 1_000_000_000


def grace_of(body: object) -> int:
    """Return the seconds for which the old secrets live on, 0 if the body does not say.

    Raises `InvalidDocument`.
    """
    problems = Problems()
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    if not isinstance(body, dict):
        problems.add("body", "not a JSON object")
    for name in fields:
        if name != "grace_period":
            problems.add(printable(str(name)), "unknown field: use grace_period")
    grace = fields.get("grace_period", 0)
    if isinstance(grace, bool) or not isinstance(grace, int) or not 0 <= grace <= LONGEST_GRACE:
        problems.add("grace_period", f"not a whole number of seconds from 0 to {LONGEST_GRACE:,}")
    problems.raise_if_any()
    return int(grace)


def new_secret(row: store.KeyRow, pepper: bytes, at: int) -> tuple[str, store.SecretRow]:
    """Return (raw secret, what is stored of it), made at `at`."""
    raw = make_secret(row.environment, random.token_bytes(24))
    return raw, store.SecretRow(
        hash_secret(raw, pepper), row.id, prefix_of(raw), last_four_of(raw), at
    )


async def end_old_secrets(connection: AsyncConnection, key_id: str, grace: int, now: int) -> int:
    """Have a key's secrets die after `grace` seconds, and the oldest at once if there are many.

    Return when the next one is made: now, and after these also where a clock went back.
    """
    until = now + grace * _SECOND
    living = await key_changes.live_secrets(connection, key_id, now)
    for number, secret in enumerate(living):
        at = until if number < MOST_LIVE - 1 else now
        await key_changes.end_secret(connection, secret, at)
    return max([now, *(secret.created_at + 1 for secret in living)])
