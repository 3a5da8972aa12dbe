"""`pdp audit`: the audit log as a table, as JSON, or as a stream."""

import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table

if TYPE_CHECKING:
    from pdp.control.access import Actor
    from pdp.control.plane import ControlPlane
    from pdp.store.audit import AuditFilter
    from pdp.store.database import Database
    from pdp.store.sight import Sight

_SHOWN = 20
"""Entries that are shown when nobody says how many."""


Limit = Annotated[
    int | None,
    typer.Option(min=1, help="How many entries; default: 20, with --format all."),
]
KeyId = Annotated[str | None, typer.Option(help="Only of this key, `key_...`.")]
Status = Annotated[
    str | None,
    typer.Option(help="pending, success, error, denied, cancelled or expired; default: all."),
]
Action = Annotated[
    str | None,
    typer.Option(help="Only of this action, as `chat:completions` or `keys.update`."),
]
Model = Annotated[str | None, typer.Option(help="Only of this model.")]
Provider = Annotated[str | None, typer.Option(help="Only of this provider.")]
RequestId = Annotated[
    str | None, typer.Option(help="Only of this request: what clients see as x-request-id.")
]
Start = Annotated[
    str | None, typer.Option(help="Not before this time (RFC 3339) or day (2030-12-31).")
]
End = Annotated[
    str | None, typer.Option(help="Before this time (RFC 3339), or up to the end of this day.")
]
Form = Annotated[
    str | None, typer.Option("--format", help="Stream as ndjson or csv; default: a table.")
]


def audit(
    limit: Limit = None,
    key_id: KeyId = None,
    status: Status = None,
    action: Action = None,
    model: Model = None,
    provider: Provider = None,
    request_id: RequestId = None,
    start: Start = None,
    end: End = None,
    form: Form = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show the audit log, newest first."""
    from pdp.control.export import export_log
    from pdp.control.sight import sight_of

    asked: dict[str, Any] = {"key_id": key_id, "status": status, "action": action}
    asked |= {"model": model, "provider": provider, "request_id": request_id}

    async def work() -> None:
        async with control() as (plane, _):
            actor = await plane.keys.actor(organization_id)
            wanted = await _wanted(plane, actor, asked, start, end)
            if form is not None:
                log = await export_log(plane.database, sight_of(actor), wanted, form, most=limit)
                await _write(log)
                return
            found = await _read(plane.database, sight_of(actor), wanted, limit or _SHOWN)
        if json:
            say_json(found)
        else:
            _say(found["logs"])

    run(work())


async def _wanted(
    plane: "ControlPlane", actor: "Actor", asked: dict[str, Any], start: str | None, end: str | None
) -> "AuditFilter":
    from pdp.control.organizations import get_settings
    from pdp.store.audit import AuditFilter

    zone = (await get_settings(plane.database, actor))["timezone"]
    since, until = _span(start, end, zone)
    return AuditFilter(**asked, start=since, end=until)


def _span(start: str | None, end: str | None, zone: str) -> tuple[int | None, int | None]:
    """Return (from when, before when) in ns; days are those of a timezone."""
    from pdp.control.audit_query import moment_of

    place = ZoneInfo(zone)
    return (
        None if start is None else moment_of(start, "start", place),
        None if end is None else moment_of(end, "end", place, ends=True),
    )


async def _read(
    database: "Database", sight: "Sight", wanted: "AuditFilter", limit: int
) -> dict[str, Any]:
    """Return as many entries as are wanted, of however many pages."""
    from pdp.control.audit import audit_log
    from pdp.control.audit_query import MOST_ENTRIES

    logs: list[Any] = []
    cursor: str | None = None
    while True:
        size = min(limit - len(logs), MOST_ENTRIES)
        page = await audit_log(database, sight, msgspec.structs.replace(wanted, limit=size), cursor)
        logs += page["logs"]
        cursor = page["next_cursor"]
        if cursor is None or len(logs) == limit:
            return {"logs": logs, "next_cursor": cursor}


async def _write(chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _say(entries: list[Mapping[str, Any]]) -> None:
    rows = [
        (
            entry["timestamp"][:19].replace("T", " "),
            entry["api_key_name"] or entry["api_key_id"],
            # Two lines of a cell, so that a terminal of 80 columns has room.
            "\n".join(filter(None, (entry["action"], entry["model"]))),
            entry["status"] if entry["reason"] == "ok" else entry["reason"],
            str(entry["tokens"]["total"]),
            "" if entry["cost_usd"] is None else f"{entry['cost_usd']:.6f}",
        )
        for entry in entries
    ]
    columns = ("UTC", "key", "action, model", "result", "tokens", "USD")
    say_table("Audit log, newest first", columns, rows)
