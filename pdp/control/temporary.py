"""The body that makes a temporary key: as of any key, but for where it goes and when it ends."""

from collections.abc import Mapping
from typing import Final

import msgspec

from pdp.control.key_document import KeyDocument, parse_key_document
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.store.keys import KeyRow
from pdp.wording import instant, named

LONGEST: Final = 30 * 86_400
"""Seconds."""

_SECOND: Final = 1_000_000_000
_NOT_HERE: Final = {
    "expires_at": "a temporary key has `expires_in`, in seconds: use that",
    "parent_key_id": "a temporary key goes below the key that asks: leave it out",
}


def expires_in(expires_at: str, now: int) -> int:
    """Return the whole seconds from `now` until a key ends, as its resource says when."""
    end = parse_instant(expires_at)
    assert end is not None, "a temporary key has an end, which we have written"
    return max(0, -(-(end - now) // _SECOND))


def check_end(row: KeyRow, parent: KeyRow, problems: Problems) -> None:
    """Note where a temporary key that is changed would have no end, or a later one than may be.

    `parent` is the key that made it.
    """
    latest = row.created_at + LONGEST * _SECOND
    why = f"a temporary key lives for {LONGEST // 86_400} days at most"
    if parent.expires_at is not None and parent.expires_at < latest:
        latest = parent.expires_at
        why = f"it ends with {named(parent.name, parent.id)}, which made it"
    if row.expires_at is None or row.expires_at > latest:
        problems.add("expires_at", f"{why}: use a time up to `{instant(latest)}`")


def parse_temporary(body: object, now: int, problems: Problems) -> KeyDocument | None:
    """Return the document with the end of the key, or None; faults go to `problems`."""
    if not isinstance(body, Mapping):
        problems.add("body", "not a JSON object")
        return None
    rest = dict(body)
    expires_in = rest.pop("expires_in", None)
    for name, message in _NOT_HERE.items():
        if rest.pop(name, None) is not None:
            problems.add(name, message)
    document = parse_key_document(rest, problems)
    if (
        isinstance(expires_in, bool)
        or not isinstance(expires_in, int)
        or not 1 <= expires_in <= LONGEST
    ):
        problems.add("expires_in", f"not a whole number of seconds from 1 to {LONGEST:,}")
        return document
    if document is None:
        return None
    name = document.name if rest.get("name") else "temporary key"
    return msgspec.structs.replace(document, name=name, expires_at=now + expires_in * _SECOND)
