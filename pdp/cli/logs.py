"""`pdp usage` and `pdp audit`."""

from typing import Annotated

import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table


def usage(
    group_by: Annotated[
        str | None, typer.Option(help="day, model, provider, key, team or user.")
    ] = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show what was spent and what is held: per key with all below it, or by a group."""
    from pdp.control.usage import usage_by_group, usage_by_key

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            if group_by:
                found = await usage_by_group(plane.database, actor.organization_id, group_by)
            else:
                found = await usage_by_key(plane.database, actor.organization_id, now)
        if json:
            say_json(found)
        elif group_by:
            names = (group_by, "requests", "prompt_tokens", "completion_tokens", "cost_usd")
            rows = [tuple(_cell(row[name]) for name in names) for row in found["usage"]]
            say_table(f"Usage by {group_by}", names, rows)
        else:
            rows = [
                (
                    row["api_key_id"],
                    row["api_key_name"],
                    _cell(row["requests"]),
                    _cell(row["tokens"]),
                    *(_usd(row[part]["spent_usd"]) for part in ("today", "month")),
                    _usd(row["spent_usd"]),
                    _usd(row["held_usd"]),
                )
                for row in found["usage"]
            ]
            columns = ("key", "name", "requests", "tokens", "today", "month", "spent", "held")
            say_table("Usage in USD, keys below included", columns, rows)

    run(work())


def audit(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many entries.")] = 20,
    key_id: Annotated[str | None, typer.Option(help="Only of this key.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show the audit log, newest first."""
    from pdp.control.audit import audit_log
    from pdp.store.audit import AuditFilter

    async def work() -> None:
        async with control() as (plane, _):
            actor = await plane.keys.actor(organization_id)
            wanted = AuditFilter(actor.organization_id, key_id, status, limit=limit)
            found = await audit_log(plane.database, wanted)
        if json:
            say_json(found)
            return
        rows = [
            (
                entry["timestamp"][:19].replace("T", " "),
                entry["api_key_name"],
                entry["action"],
                entry["model"],
                entry["status"],
                entry["reason"],
                _cell(entry["tokens"]["total"]),
                "" if entry["cost_usd"] is None else _usd(entry["cost_usd"]),
            )
            for entry in found["logs"]
        ]
        columns = ("time (UTC)", "key", "action", "model", "status", "reason", "tokens", "USD")
        say_table("Audit log, newest first", columns, rows)

    run(work())


def _usd(amount: float) -> str:
    return f"{amount:.6f}"


def _cell(value: object) -> str:
    return _usd(value) if isinstance(value, float) else str(value)
