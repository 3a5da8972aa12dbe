"""The demo on the screen."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pdp.demo.play import Step
from pdp.demo.stage import Stage


def show_steps(console: Console, steps: list[Step], entries: dict[str, dict[str, Any]]) -> None:
    """Print what happened."""
    table = Table(title="What the openai client saw", title_justify="left")
    table.add_column("")
    table.add_column("step")
    for column in ("status", "tokens", "USD"):
        table.add_column(column, justify="right")
    table.add_column("reason")
    for step in steps:
        entry = entries.get(step.request_id, {})
        tokens = entry.get("tokens", {}).get("total", 0)
        cost = entry.get("cost_usd")
        reason = step.got_code + (f", retry after {step.retry_after} s" if step.retry_after else "")
        table.add_row(
            "[green]✓[/]" if step.passed else "[red]✗[/]",
            step.title,
            str(step.got_status),
            str(tokens) if tokens else "",
            f"{cost:.6f}" if cost else "",
            escape(reason),
        )
    console.print(table)
    for step in steps:
        if step.got_status != step.status or step.got_status >= 400:
            console.print(f"  {step.got_status}  {escape(step.message)}", style="dim")


def show_spend(console: Console, usage: list[dict[str, Any]]) -> None:
    """Print spend per key."""
    table = Table(title="Spend per key, keys below included", title_justify="left")
    table.add_column("key")
    for column in ("requests", "tokens", "spent USD", "held USD"):
        table.add_column(column, justify="right")
    for row in usage:
        table.add_row(
            escape(row["api_key_name"]),
            str(row["requests"]),
            str(row["tokens"]),
            f"{row['spent_usd']:.6f}",
            f"{row['held_usd']:.6f}",
        )
    console.print(table)


def show_where(console: Console, stage: Stage, eager_id: str) -> None:
    """Print where to look."""
    ports = stage.ports
    console.print("\n[bold]Look around[/] (in another terminal, in this folder)")
    data = f"PDP_DATA_DIR={stage.data_dir} .venv/bin/pdp"
    chat = f"curl -i http://127.0.0.1:{ports.envoy}/v1/chat/completions"
    for what, where in (
        ("your own key", f"export KEY=$({data} keys create --name me --model gpt-4o --quiet)"),
        (
            "ask with it",
            f"{chat} -H \"Authorization: Bearer $KEY\" -H 'content-type: application/json' "
            """-d '{"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}'""",
        ),
        ("metrics", f"curl -s http://127.0.0.1:{ports.ops}/metrics | grep pdp_checks"),
        ("audit log", f"{data} audit"),
        ("a key", f"{data} keys get {eager_id}"),
        ("gRPC", f"127.0.0.1:{ports.grpc}"),
    ):
        console.print(f"  {what:<14}{escape(where)}", soft_wrap=True, highlight=False)
