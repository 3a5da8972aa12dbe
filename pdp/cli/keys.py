"""`pdp keys`: create, list, get, revoke; the rest is in `key_life`."""

import re
from typing import Annotated

import msgspec
import typer

from pdp.cli.common import Json, Organization, control, run, say_json, say_table
from pdp.cli.key_body import lay_over, read_body, say_secret
from pdp.errors import InvalidDocument, Problem

app = typer.Typer(help="Keys: make, show, change and end them.", no_args_is_help=True)


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
    body = read_body(file) if file else {}
    given = {"name": name, "key_type": key_type, "team_id": team_id, "user_id": user_id}
    body |= {field: value for field, value in given.items() if value is not None}
    if model:
        lay_over(body, "permissions", {"models": model})
    if monthly_budget is not None:
        lay_over(body, "budget_limits", {"monthly": monthly_budget})

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            made = await plane.keys.create(actor, body, now)
        say_secret(made, json=json, quiet=quiet)

    run(work())


@app.command("list")
def list_keys(
    status: Annotated[str, typer.Option(help="active, expired, revoked or suspended.")] = "",
    team_id: Annotated[str, typer.Option(help="Keys of this team.")] = "",
    user_id: Annotated[str, typer.Option(help="Keys of this user.")] = "",
    key_type: Annotated[str, typer.Option(help="Keys of this type.")] = "",
    older_than: Annotated[
        str, typer.Option(help="Keys whose newest secret is older: 90d, 12h, 30m or 45s.")
    ] = "",
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Show all keys, revoked ones included."""
    age = _seconds(older_than) if older_than else None

    async def work() -> None:
        from pdp.control.listing import KeyFilter

        wanted = KeyFilter(
            status=status, key_type=key_type, team_id=team_id, user_id=user_id, older_than=age
        )
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            found = [key async for key in plane.keys.every(actor, now, wanted)]
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
        columns = ("id", "name", "status", "type", "team", "user", "secret")
        say_table("Keys", columns, rows)

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


_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([dhms])", text)
    if found is None:
        raise InvalidDocument([Problem("--older-than", "not an age: use 90d, 12h, 30m or 45s")])
    return int(found[1]) * _UNITS[found[2]]
