"""`before` and `after`: a point in time (RFC 3339 with an offset)."""

import re
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.attributes import Attributes
from pdp.wording import instant, shown

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Moment(Struct, frozen=True):
    """Holds before `at` (ns since the epoch), or from it on."""

    at: int
    before: bool

    @property
    def words(self) -> str:
        """What it takes, for messages."""
        return f"{'before' if self.before else 'after'} {instant(self.at)}"

    def holds(self, request: Attributes) -> bool:
        """Compare with the time of the request."""
        return (request.now < self.at) is self.before


def parse_instant(text: str) -> int | None:
    """Return ns since the epoch of an RFC 3339 time with offset; None if it is not one."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    whole, fraction, offset = match[1].upper(), match[2] or "", match[3].upper()
    try:
        since = datetime.fromisoformat(whole + offset) - _EPOCH
    except ValueError:
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def read_before(cursor: Cursor) -> Moment | None:
    """Read `before`: holds until the instant."""
    at = _read_instant(cursor)
    return None if at is None else Moment(at, before=True)


def read_after(cursor: Cursor) -> Moment | None:
    """Read `after`: holds from the instant on."""
    at = _read_instant(cursor)
    return None if at is None else Moment(at, before=False)


def _read_instant(cursor: Cursor) -> int | None:
    text = cursor.text()
    if text is None:
        return None
    at = parse_instant(text)
    if at is None:
        cursor.fault(f"{shown(text)} is no time: write it like `2025-12-31T23:59:59Z`")
    return at
