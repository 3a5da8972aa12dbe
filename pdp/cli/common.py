"""What the commands share: opening the control plane, printing."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pdp.control.plane import ControlPlane

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Organization = Annotated[
    str | None, typer.Option("--organization-id", help="Default: the oldest organization.")
]
KeyId = Annotated[
    str, typer.Argument(metavar="KEY_ID", help="As `pdp keys list` shows it, `key_...`.")
]

ON_DATABASE = (
    "Works on the database, beside a running server or without one: PDP_DATA_DIR (default: "
    "pdp-data) has it, or PDP_DATABASE_URL says where it is. On PostgreSQL PDP_KEY_PEPPER has "
    "to be that of the server."
)
"""Stands below the help of commands that open it."""

_FILE_WIDTH = 240


@asynccontextmanager
async def control(*, make: bool = False) -> AsyncIterator[tuple["ControlPlane", int]]:
    """Open the control plane of the settings; give it with the time in ns.

    Only with `make` is a database made where there is none.
    """
    from pdp.control.plane import open_control
    from pdp.settings import load_settings

    async with open_control(load_settings(), make=make) as plane:
        yield plane, time.time_ns()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work."""
    asyncio.run(work)


def say_json(value: Any) -> None:
    """Print JSON for programs and people."""
    text = msgspec.json.Encoder(decimal_format="number").encode(value)
    typer.echo(msgspec.json.format(text, indent=2).decode())


def say_table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table; numbers to the right."""
    table = Table(
        title=_plain(title),  # A title may be a name, and no name is markup.
        title_justify="left",
        header_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Names come from people: nothing in them is markup.
        table.add_row(*(_plain(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH  # Nobody's lines are broken in a file or a pipe.
    console.print(table)


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace(",", "").replace("-", "").isdecimal() or not text


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
