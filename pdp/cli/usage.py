"""`pdp usage`: what was spent and what is held."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, Any

import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table

Page = Callable[[str | None], Awaitable[dict[str, Any]]]


GroupBy = Annotated[
    str | None,
    typer.Option(
        help="day, model, provider, key, team or user; default: today, month and all, by key."
    ),
]
Start = Annotated[
    str | None,
    typer.Option(help="First day (2030-12-31), with --group-by; default: the first there is."),
]
End = Annotated[
    str | None, typer.Option(help="Last day (2030-12-31), with --group-by; default: today.")
]
OfKey = Annotated[
    str | None,
    typer.Option(help="Only of this key, `key_...`; with --group-by without those below it."),
]


def usage(
    group_by: GroupBy = None,
    start: Start = None,
    end: End = None,
    key_id: OfKey = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show what was spent and what is held: per key with all below it, or by a group."""
    from pdp.control.sight import sight_of
    from pdp.control.usage import usage_by_group, usage_by_key

    if group_by is None and (start or end):
        raise typer.BadParameter("days need --group-by: without, today and this month are shown")

    async def work() -> None:
        async with control() as (plane, now):
            sight = sight_of(await plane.keys.actor(organization_id))

            def page(cursor: str | None) -> Awaitable[dict[str, Any]]:
                database = plane.database
                if group_by is None:
                    return usage_by_key(database, sight, now, key_id, cursor=cursor)
                return usage_by_group(database, sight, group_by, start, end, key_id, cursor=cursor)

            rows = await _every(page)
        if json:
            say_json({"usage": rows})
        elif group_by is None:
            _say_keys(rows)
        else:
            _say_groups(group_by, rows)

    run(work())


async def _every(page: Page) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        found = await page(cursor)
        rows += found["usage"]
        cursor = found["next_cursor"]
        if cursor is None:
            return rows


def _say_keys(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            _key_of(row["api_key_name"], row["api_key_id"]),
            str(row["requests"]),
            *(_usd(row[part]["spent_usd"]) for part in ("today", "month")),
            _usd(row["spent_usd"]),
            _usd(row["held_usd"]),
        )
        for row in found
    ]
    # Six columns are what a terminal of 80 has room for; tokens are in the JSON.
    columns = ("key", "requests", "today", "month", "spent", "held")
    say_table("Usage in USD, keys below included", columns, rows)


def _say_groups(group: str, found: list[dict[str, Any]]) -> None:
    counts = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens")
    rows = [
        (
            _name_of(group, row),
            *(str(row[name]) for name in counts),
            _usd(row["cost_usd"]),
        )
        for row in found
    ]
    columns = (group, "requests", "prompt", "completion", "cached", "USD")
    say_table(f"Usage by {group}", columns, rows)


def _name_of(group: str, row: dict[str, Any]) -> str:
    if group == "key":
        return _key_of(row["key_name"], row["key"])
    return str(row[group] or "-")


def _key_of(name: str, key_id: str) -> str:
    """Return a cell of two lines: people know the name, commands take the id."""
    return f"{name}\n{key_id}" if name else key_id


def _usd(amount: float | Decimal) -> str:
    return f"{amount:.6f}"
