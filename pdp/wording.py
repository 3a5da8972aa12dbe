"""How messages speak of keys, times, user input and lists: bounded and printable."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

_SECOND: Final = 1_000_000_000
_LONGEST: Final = 80
_MOST: Final = 5


def shown(text: str) -> str:
    """Return user input for messages: in backticks, printable, at most 80 characters."""
    return f"`{printable(text)}`"


def printable(text: str) -> str:
    """Return user input for the places of problems: as `shown`, without the backticks."""
    clean = "".join(c if c.isprintable() and c != "`" else "?" for c in text[:_LONGEST])
    return f"{clean}…" if len(text) > _LONGEST else clean


def named(name: str, key_id: str) -> str:
    """Return a key for messages: its name and its id."""
    return f"key {shown(name)} ({key_id})"


def listed(names: Sequence[str]) -> str:
    """Return at most five of the names for messages, and how many more there are."""
    some = ", ".join(shown(name) for name in names[:_MOST])
    return f"{some} and {len(names) - _MOST} more" if len(names) > _MOST else some


def instant(ns: int) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(ns // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
