"""How a decision is shown: by `pdp check`, which asks a server, and `pdp policy simulate`."""

from typing import Any

import typer

from pdp.cli.common import say_table


def say_decision(shown: dict[str, Any]) -> None:
    """Print a decision, as `pdp check --json` and REST have it, for people."""
    typer.echo(f"decision   {shown['decision']} ({shown['http_status']})")
    typer.echo(f"reason     {shown['reason']}")
    for name, label in (
        ("message", "message"),
        ("matched_statement", "statement"),
        ("retry_after", "retry in"),
        ("reservation_id", "held as"),
    ):
        if shown.get(name):
            typer.echo(f"{label:<11}{shown[name]}{' s' if name == 'retry_after' else ''}")
    if shown["key_id"]:
        typer.echo(f"key        {shown['key_name']} ({shown['key_id']})")
    if shown["limits"]:
        typer.echo()
        columns = ("limit", "key", "unit", "limit is", "spent", "held", "remaining", "reset")
        names = ("name", "key_id", "unit", "limit", "spent", "held", "remaining", "reset_at")
        rows = [
            tuple("" if each[name] is None else _cell(each, name) for name in names)
            for each in shown["limits"]
        ]
        say_table("Limits of the key and of those above it", columns, rows)


def _cell(limit: dict[str, Any], name: str) -> str:
    value = limit[name]
    if limit["unit"] == "nano_usd" and isinstance(value, int):
        return f"{value / 1e9:.6f}"
    return "USD" if value == "nano_usd" else str(value)
