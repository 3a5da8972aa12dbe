"""`pdp prices`: list, set, show, remove."""

from typing import Annotated, Any

import typer

from pdp.cli.common import ON_DATABASE, Json, Organization, control, run, say_json, say_table
from pdp.cli.key_body import read_body
from pdp.cli.on_database import on_database

app = typer.Typer(
    help="What models cost: your prices, before the built-in ones.", no_args_is_help=True
)

_SHOWN = ("prompt", "completion", "cached", "per_request", "per_image", "per_minute")


@app.command("list", epilog=ON_DATABASE)
@on_database
def list_prices(
    provider: Annotated[str, typer.Option(help="Prices at this provider.")] = "",
    model: Annotated[str, typer.Option(help="Prices of this model or pattern.")] = "",
    status: Annotated[
        str, typer.Option(help="current, scheduled, ended or removed; default: all.")
    ] = "",
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show your prices, those to come and those that were included."""
    from pdp.control.price_book import MOST, STATUSES, PriceFilter
    from pdp.errors import InvalidDocument, Problem

    if status and status not in STATUSES:
        raise InvalidDocument([Problem("--status", f"use one of {', '.join(STATUSES)}")])

    async def work() -> None:
        found: list[dict[str, Any]] = []
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            wanted, cursor = PriceFilter(now, provider, model, status, limit=MOST), None
            while True:
                page = await plane.prices.page(actor, wanted, cursor)
                found += page["prices"]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
        if json:
            say_json({"prices": found})
        else:
            _say_list(found)

    run(work())


def _say_list(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["id"],
            each["provider"],
            each["model"],
            each["status"],
            _said(each),
            each["effective_from"],
            each["effective_until"] or "",
        )
        for each in found
    ]
    say_table("Prices", ("id", "provider", "model", "status", "USD", "from", "until"), rows)


Prompt = Annotated[str, typer.Option(help="USD per million tokens of the prompt.")]
Completion = Annotated[str, typer.Option(help="USD per million tokens of the output.")]
Cached = Annotated[
    str, typer.Option(help="USD per million tokens of the prompt, read from a cache.")
]
From = Annotated[str, typer.Option("--from", help="RFC 3339; default: now.")]
Until = Annotated[str, typer.Option("--until", help="RFC 3339; default: ever.")]
Body = Annotated[str | None, typer.Option("--file", "-f", help="A REST body as JSON; - is stdin.")]


@app.command("set", epilog=ON_DATABASE)
@on_database
def set_price(
    provider: Annotated[str, typer.Argument(help="As requests or routes name it.")] = "",
    model: Annotated[str, typer.Argument(help="A name, or a pattern with * and ?.")] = "",
    prompt: Prompt = "",
    completion: Completion = "",
    cached: Cached = "",
    per_request: Annotated[str, typer.Option(help="USD for each request.")] = "",
    per_image: Annotated[str, typer.Option(help="USD for each image.")] = "",
    per_minute: Annotated[str, typer.Option(help="USD for a minute of sound heard.")] = "",
    effective_from: From = "",
    effective_until: Until = "",
    file: Body = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Set the price of a model, from now or from a time to come on."""
    body = read_body(file) if file else {}
    given = {
        "provider": provider,
        "model": model,
        "prompt": prompt,
        "completion": completion,
        "cached": cached,
        "per_request": per_request,
        "per_image": per_image,
        "per_minute": per_minute,
        "effective_from": effective_from,
        "effective_until": effective_until,
    }
    body |= {name: value for name, value in given.items() if value}

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            made = await plane.prices.add(actor, body, now)
        said = f"{made['id']}: {made['provider']} {made['model']} costs {_said(made)}"
        say_json(made) if json else typer.echo(said)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def show(
    model: Annotated[str, typer.Argument(help="As a request names it.")],
    provider: Annotated[str, typer.Option(help="Default: the one that the name implies.")] = "",
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show which price a model has now, where it comes from, and when it changes."""
    from pdp.control.price_lookup import look_up
    from pdp.control.price_overrides import load_overrides
    from pdp.settings import load_settings

    settings = load_settings()
    file = load_overrides(settings.prices_file) if settings.prices_file else ()

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            entries = await plane.prices.living_for(actor, now)
        found = look_up(model, provider, entries, file, now)
        if json:
            say_json(found)
            return
        price = found["price"]
        rows = [
            ("provider", found["provider"]),
            ("source", found["source"] or "none: the price is unknown"),
            ("for", found["matched"] or ""),
            ("id", found["price_id"] or ""),
            *((name, _text(value)) for name, value in (price or {}).items() if value),
            ("changes at", found["changes_at"] or ""),
        ]
        say_table(model, ("field", "value"), [row for row in rows if row[1]])

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def remove(
    price_id: Annotated[
        str, typer.Argument(metavar="PRICE_ID", help="As `pdp prices list` shows it.")
    ],
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """End a price now, or take one back that is to come."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            removed = await plane.prices.remove(actor, price_id, now)
        if json:
            say_json(removed)
            return
        typer.echo(f"{removed['id']} is {removed['status']}")

    run(work())


def _said(price: dict[str, Any]) -> str:
    """Return the usual parts of a price in a line: what a cell has room for."""
    told = ", ".join(f"{name} {price[name]}" for name in _SHOWN if price[name] is not None)
    return told or "see --json"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "; ".join(
        f"above {tier['above']:,} tokens "
        + ", ".join(f"{name} {usd}" for name, usd in tier.items() if name != "above" and usd)
        for tier in value
    )
