"""What the audit log is asked, as it comes from outside: checked, and said back where wrong."""

from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from pdp.actions import ACTIONS, BY_AUDIT_NAME
from pdp.control.admin_log import ADMIN_ACTIONS
from pdp.control.bookmark import Number, Text, bookmark, place_of
from pdp.errors import InvalidDocument, Problem
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.store.audit import AuditFilter, Position
from pdp.store.text import is_storable
from pdp.wording import shown

STATUSES: Final = ("pending", "success", "error", "denied", "cancelled", "expired")
MOST_ENTRIES: Final = 1000
"""Entries in a page."""

_MOST_NS: Final = 2**63 - 1
_TEXTS: Final = ("key_id", "model", "provider", "request_id")


def instant_of(text: str, name: str) -> int:
    """Return ns since the epoch of an RFC 3339 time; `name` is the parameter it comes from.

    Raises `InvalidDocument`. What lies beyond the years that 64 bits can tell
    (1677 to 2262) is their end.
    """
    found = parse_instant(text)
    if found is None:
        message = f"{shown(text)} is no time: use RFC 3339 with an offset, `2030-12-31T23:59:59Z`"
        raise InvalidDocument([Problem(name, message)])
    return max(-_MOST_NS, min(found, _MOST_NS))


def moment_of(text: str, name: str, zone: ZoneInfo, *, ends: bool = False) -> int:
    """As `instant_of`; a day is its beginning in `zone`, and with `ends` that of the next one."""
    try:
        day = date.fromisoformat(text) + timedelta(days=ends)
    except (ValueError, OverflowError):
        return instant_of(text, name)
    return instant_of(datetime(day.year, day.month, day.day, tzinfo=zone).isoformat(), name)


def checked(wanted: AuditFilter) -> AuditFilter:
    """Return a filter with the action as it is stored. Raises `InvalidDocument` with all faults."""
    problems = Problems()
    if wanted.status is not None and wanted.status not in STATUSES:
        message = f"{shown(wanted.status)} is not one of {', '.join(STATUSES)}"
        problems.add("status", message)
    action = wanted.action
    if action is not None and action not in ACTIONS and action not in ADMIN_ACTIONS:
        if action not in BY_AUDIT_NAME:
            known = ", ".join((*ACTIONS, *ADMIN_ACTIONS))
            problems.add("action", f"{shown(action)} is not one of {known}")
        else:
            action = BY_AUDIT_NAME[action].name
    if not 1 <= wanted.limit <= MOST_ENTRIES:
        problems.add("limit", f"`{wanted.limit}` is not from 1 to {MOST_ENTRIES}")
    for name in _TEXTS:
        if not is_storable(getattr(wanted, name) or ""):
            problems.add(name, "has characters that no entry has: leave them out")
    problems.raise_if_any()
    return msgspec.structs.replace(wanted, action=action)


def cursor_of(position: Position) -> str:
    """Return a position for outside."""
    return bookmark("audit", *position)


def position_of(cursor: str) -> Position:
    """Return the position of a cursor. Raises `InvalidDocument` for one that is not ours."""
    at, decision_id = place_of(cursor, "audit", Number, Text)
    return at, decision_id
