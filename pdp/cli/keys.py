"""`pdp keys`: create, list, get, revoke."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table
from pdp.errors import InvalidDocument, Problem

app = typer.Typer(help="Keys: make, show and revoke them.", no_args_is_help=True)


@app.command()
def create(
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="A REST create body as JSON; - is stdin.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the key.")] = None,
    key_type: Annotated[
        str | None, typer.Option(help="organization, team, user or application.")
    ] = None,
    team_id: Annotated[str | None, typer.Option(help="Team that it belongs to.")] = None,
    user_id: Annotated[str | None, typer.Option(help="User that it belongs to.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may use; more than once.")
    ] = None,
    monthly_budget: Annotated[float | None, typer.Option(help="USD a month.")] = None,
    organization_id: Organization = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the secret and nothing else.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key. Its secret is shown once, here."""
    body = _body(file) if file else {}
    given = {"name": name, "key_type": key_type, "team_id": team_id, "user_id": user_id}
    body |= {field: value for field, value in given.items() if value is not None}
    if model:
        _lay_over(body, "permissions", {"models": model})
    if monthly_budget is not None:
        _lay_over(body, "budget_limits", {"monthly": monthly_budget})

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            made = await plane.keys.create(actor, body, now)
        if json:
            say_json(made)
            return
        if quiet:
            typer.echo(made["api_key"])
            return
        typer.echo(f"key     {made['id']}  {made['name']}")
        typer.echo(f"secret  {made['api_key']}")
        typer.echo("keep the secret: it is not shown again", err=True)

    run(work())


@app.command("list")
def list_keys(organization_id: Organization = None, json: Json = False) -> None:
    """Show all keys, revoked ones included."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            found = [key async for key in plane.keys.every(actor, now)]
        if json:
            say_json({"keys": found})
            return
        rows = [
            (
                key["id"],
                key["name"],
                key["status"],
                key["key_type"],
                key["team_id"] or "",
                key["user_id"] or "",
                f"{key['prefix']}…{key['last_four']}",
            )
            for key in found
        ]
        say_table("Keys", ("id", "name", "status", "type", "team", "user", "secret"), rows)

    run(work())


@app.command()
def get(key_id: str, organization_id: Organization = None, json: Json = False) -> None:
    """Show one key."""

    async def work() -> None:
        async with control() as (plane, now):
            found = await plane.keys.get(await plane.keys.actor(organization_id), key_id, now)
        if json:
            say_json(found)
            return
        rows = [
            (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
            for name, value in found.items()
            if value not in (None, "", [])
        ]
        say_table(found["name"], ("field", "value"), rows)

    run(work())


@app.command()
def revoke(
    key_id: str,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Revoke every key below it as well.")
    ] = False,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Kill a key's secrets. Its limits go on binding the keys below it."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            revoked = await plane.keys.revoke(actor, key_id, now, cascade=cascade)
        if json:
            say_json(revoked)
            return
        below = revoked["live_children"]
        more = f"; {below} below it go on: --cascade revokes them too" if below else ""
        typer.echo(f"{revoked['id']} is revoked{more}")

    run(work())


def _lay_over(body: dict[str, Any], field: str, options: dict[str, Any]) -> None:
    """Put options before what the body says; what is no object there is refused as it is."""
    authored = body.get(field)
    if authored is None or isinstance(authored, dict):
        body[field] = {**(authored or {}), **options}


def _body(file: str) -> dict[str, Any]:
    from pdp.control.body import decode_body

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise InvalidDocument([Problem(file, reason)]) from error
    body = decode_body(data, file)
    if not isinstance(body, dict):
        raise InvalidDocument([Problem(file, "not a JSON object")])
    return body
