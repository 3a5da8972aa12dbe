"""The audit log as a stream of NDJSON or CSV: page by page, so that any length is the same work.

Each page is a read of its own: nobody holds a transaction open while a client is slow.
What is written meanwhile is newer than where the stream is, and not in it.
"""

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from pdp.control.audit import audit_log
from pdp.errors import InvalidDocument, Problem
from pdp.store.audit import AuditFilter
from pdp.store.database import Database
from pdp.store.sight import Sight
from pdp.wording import shown

PAGE: Final = 500
"""Entries that are in memory at once."""

COLUMNS: Final = (
    *("timestamp", "api_key_id", "api_key_name", "request_id", "action", "model", "provider"),
    *("status", "reason", "latency_ms", "prompt_tokens", "completion_tokens", "total_tokens"),
    *("cost_usd", "usage_source", "ip_address", "user_agent", "decision_id", "reservation_id"),
    *("organization_id", "team_id", "user_id", "metadata"),
)
"""Of CSV: the fields of an entry, `tokens` taken apart, `metadata` as JSON."""

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_TYPES: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}

FORMATS: Final = tuple(_TYPES)


def media_type_of(form: str) -> str:
    """Return the media type of a format. Raises `InvalidDocument` for one that is none."""
    if form not in _TYPES:
        message = f"{shown(form)} is not one of {', '.join(FORMATS)}"
        raise InvalidDocument([Problem("format", message)])
    return _TYPES[form]


async def export_log(
    database: Database,
    sight: Sight,
    wanted: AuditFilter,
    form: str,
    cursor: str | None = None,
    most: int | None = None,
) -> AsyncIterator[bytes]:
    """Return a stream of what is wanted, newest first, a chunk a page; at most `most` entries.

    `wanted.limit` is not looked at. Raises as `audit_log` does, and `InvalidDocument`
    for a format that is none, before the stream begins; within it, `Unavailable`
    when SQL does not answer.
    """
    media_type_of(form)
    first = await _page(database, sight, wanted, cursor, most)
    return _chunks(database, sight, wanted, form, first, most)


async def _chunks(
    database: Database,
    sight: Sight,
    wanted: AuditFilter,
    form: str,
    page: dict[str, Any],
    most: int | None,
) -> AsyncIterator[bytes]:
    write = _WRITERS[form]
    if form == "csv":
        yield _csv([COLUMNS])
    while True:
        entries = page["logs"]
        if entries:
            yield write(entries)
        if most is not None:
            most -= len(entries)
        if page["next_cursor"] is None or most == 0:
            return
        page = await _page(database, sight, wanted, page["next_cursor"], most)


async def _page(
    database: Database, sight: Sight, wanted: AuditFilter, cursor: str | None, most: int | None
) -> dict[str, Any]:
    limit = PAGE if most is None else min(PAGE, most)
    return await audit_log(database, sight, msgspec.structs.replace(wanted, limit=limit), cursor)


def _ndjson(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(_encode(entry) + b"\n" for entry in entries)


def _rows(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return _csv([[_cell(entry, name) for name in COLUMNS] for entry in entries])


def _cell(entry: Mapping[str, Any], name: str) -> object:
    if name.endswith("_tokens"):
        return entry["tokens"][name.removesuffix("_tokens")]
    value = entry[name]
    if name == "metadata":
        return msgspec.json.encode(value).decode()
    if name == "cost_usd" and value is not None:
        return f"{value:.9f}"  # Never 1e-07, which not every program reads.
    # A spreadsheet runs what looks like a formula; names and agents come from strangers.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    """Return lines as RFC 4180 has them."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


_WRITERS: Final[Mapping[str, Callable[[Sequence[Mapping[str, Any]]], bytes]]] = {
    "ndjson": _ndjson,
    "csv": _rows,
}
