"""`pdp keys`: create, list, get, revoke; the rest is in `key_life`."""

from typing import Annotated, Any

import msgspec
import typer

from pdp.cli.common import ON_DATABASE, Json, KeyId, Organization, control, run, say_json, say_table
from pdp.cli.key_body import lay_over, read_body, say_secret
from pdp.cli.on_database import on_database
from pdp.errors import InvalidDocument, Problem
from pdp.wording import shown

app = typer.Typer(help="Keys: make, show, change and end them.", no_args_is_help=True)


Body = Annotated[
    str | None, typer.Option("--file", "-f", help="A REST create body as JSON; - is stdin.")
]
KeyType = Annotated[
    str | None,
    typer.Option(help="organization, team, user or application; default: application."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(help="A model that it may use; more than once. Default: all of its parents'."),
]


@app.command(epilog=ON_DATABASE)
@on_database
def create(
    file: Body = None,
    name: Annotated[str | None, typer.Option(help="Name of the key, for people.")] = None,
    key_type: KeyType = None,
    team_id: Annotated[
        str | None, typer.Option(help="Team that it belongs to: it stands below its key.")
    ] = None,
    user_id: Annotated[str | None, typer.Option(help="User that it belongs to.")] = None,
    model: Models = None,
    monthly_budget: Annotated[
        float | None, typer.Option(help="USD a month; default: no limit of its own.")
    ] = None,
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


@app.command("list", epilog=ON_DATABASE)
@on_database
def list_keys(
    status: Annotated[
        str, typer.Option(help="active, expired, revoked or suspended; default: all.")
    ] = "",
    team_id: Annotated[str, typer.Option(help="Keys of this team.")] = "",
    user_id: Annotated[str, typer.Option(help="Keys of this user.")] = "",
    key_type: Annotated[
        str, typer.Option(help="organization, team, user or application; default: all.")
    ] = "",
    older_than: Annotated[
        str, typer.Option(help="Keys whose newest secret is older: 90d, 2w, 12h, 30m, or seconds.")
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
        else:
            _say_list(found)

    run(work())


def _say_list(found: list[dict[str, Any]]) -> None:
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


@app.command(epilog=ON_DATABASE)
@on_database
def get(key_id: KeyId, organization_id: Organization = None, json: Json = False) -> None:
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


@app.command(epilog=ON_DATABASE)
@on_database
def revoke(
    key_id: KeyId,
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


def _seconds(text: str) -> int:
    from pdp.control.listing import seconds_of

    seconds = seconds_of(text)
    if seconds is None:
        message = f"{shown(text)} is no length of time: write it like `90d`, `12h`, `3600`"
        raise InvalidDocument([Problem("--older-than", message)])
    return seconds
