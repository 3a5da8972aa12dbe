"""Pages of keys: filters as they come in, and cursors that inserts do not move."""

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from pdp.control.bookmark import Number, Text, bookmark, place_of
from pdp.control.key_document import KEY_TYPES
from pdp.control.resource import resource_of
from pdp.problems import Problems
from pdp.store.key_list import Wanted
from pdp.store.keys import KeyRow

STATUSES: Final = ("active", "expired", "revoked", "suspended")
MOST: Final = 1000
"""Keys of a page."""

_SECOND: Final = 1_000_000_000
_OLDEST: Final = 100 * 366 * 86_400
_SPAN: Final = re.compile("([0-9]{1,10})([smhdw]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def seconds_of(text: str) -> int | None:
    """Return a length of time in seconds, `90d`, `12h` or `3600`; None if it is none."""
    match = _SPAN.fullmatch(text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else -1
    return seconds if 0 <= seconds <= _OLDEST else None


class KeyFilter(Struct, frozen=True):
    """Which keys; empty or None: any. `older_than`: the newest secret is that many seconds old."""

    status: str = ""
    key_type: str = ""
    team_id: str = ""
    user_id: str = ""
    older_than: int | None = None
    limit: int = MOST


def wanted_of(asked: KeyFilter, cursor: str | None, now: int) -> Wanted:
    """Return what to ask the store, one more than a page. Raises `InvalidDocument`."""
    problems = Problems()
    if asked.status and asked.status not in STATUSES:
        problems.add("status", f"use one of {', '.join(STATUSES)}")
    if asked.key_type and asked.key_type not in KEY_TYPES:
        problems.add("key_type", f"use one of {', '.join(KEY_TYPES)}")
    if not 1 <= asked.limit <= MOST:
        problems.add("limit", f"not a whole number from 1 to {MOST:,}")
    for name in ("team_id", "user_id"):
        if not getattr(asked, name).isprintable():
            problems.add(name, "not printable text: there is no such id")
    if asked.older_than is not None and not 0 <= asked.older_than <= _OLDEST:
        problems.add("older_than", f"not a whole number of seconds from 0 to {_OLDEST:,}")
    problems.raise_if_any()
    after = place_of(cursor, "keys", Number, Text) if cursor else None
    before = None if asked.older_than is None else now - asked.older_than * _SECOND
    return Wanted(
        now=now,
        status=asked.status,
        key_type=asked.key_type,
        team_id=asked.team_id,
        user_id=asked.user_id,
        secret_before=before,
        after=after,
        limit=asked.limit + 1,
    )


def page_of(rows: Sequence[KeyRow], wanted: Wanted, now: int) -> dict[str, Any]:
    """Return {"keys": [...], "next_cursor"}."""
    page = rows[: wanted.limit - 1]
    more = len(rows) > len(page)
    return {
        "keys": [resource_of(row, now) for row in page],
        "next_cursor": bookmark("keys", page[-1].created_at, page[-1].id) if more else None,
    }
