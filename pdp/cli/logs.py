"""`pdp audit`: the audit log as a table, as JSON, or as a stream."""

import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table

if TYPE_CHECKING:
    from pdp.store.audit import AuditFilter
    from pdp.store.database import Database
    from pdp.store.sight import Sight

_SHOWN = 20
"""Entries that are shown when nobody says how many."""


def audit(
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="How many entries; default: 20, with --format all."),
    ] = None,
    key_id: Annotated[str | None, typer.Option(help="Only of this key.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    action: Annotated[str | None, typer.Option(help="Only of this action.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Only of this request.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Not before this time (RFC 3339) or day (2030-12-31).")
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Before this time (RFC 3339), or up to the end of this day.")
    ] = None,
    form: Annotated[str | None, typer.Option("--format", help="Stream ndjson or csv.")] = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show the audit log, newest first."""
    from pdp.control.export import export_log
    from pdp.control.organizations import get_settings
    from pdp.control.sight import sight_of
    from pdp.store.audit import AuditFilter

    async def work() -> None:
        async with control() as (plane, _):
            actor = await plane.keys.actor(organization_id)
            zone = (await get_settings(plane.database, actor))["timezone"]
            since, until = _span(start, end, zone)
            wanted = AuditFilter(
                key_id=key_id,
                status=status,
                action=action,
                model=model,
                provider=provider,
                request_id=request_id,
                start=since,
                end=until,
            )
            sight = sight_of(actor)
            if form is not None:
                await _write(await export_log(plane.database, sight, wanted, form, most=limit))
                return
            found = await _read(plane.database, sight, wanted, limit or _SHOWN)
        if json:
            say_json(found)
        else:
            _say(found["logs"])

    run(work())


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
