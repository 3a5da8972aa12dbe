"""`pdp keys`: update, rotate, suspend, resume, report-compromised, temporary."""

from typing import Annotated, Any

import typer

from pdp.cli.common import ON_DATABASE, Json, KeyId, Organization, control, run, say_json
from pdp.cli.key_body import lay_over, read_body, say_secret, say_warnings
from pdp.cli.keys import app
from pdp.cli.on_database import on_database

__all__ = ["app"]

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print the secret and nothing else on stdout.")
]


@app.command(epilog=ON_DATABASE)
@on_database
def update(
    key_id: KeyId,
    file: Annotated[
        str, typer.Option("--file", "-f", help="A JSON Merge Patch of the key; - is stdin.")
    ],
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Change a key by a JSON Merge Patch: null takes a field away."""
    patch = read_body(file)

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            changed = await plane.keys.update(actor, key_id, patch, now)
        say_warnings(changed)
        if json:
            say_json(changed)
            return
        typer.echo(f"{changed['id']} is at version {changed['version']}")

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def rotate(
    key_id: KeyId,
    grace_period: Annotated[
        int, typer.Option(help="Seconds for which the old secrets live on.")
    ] = 0,
    organization_id: Organization = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Give a key a new secret. It is shown once, here."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            body = {"grace_period": grace_period}
            rotated = await plane.keys.rotate(actor, key_id, body, now)
        say_secret(rotated, json=json, quiet=quiet)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def suspend(key_id: KeyId, organization_id: Organization = None, json: Json = False) -> None:
    """Stop a key's own secrets until it is resumed."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            _say_status(await plane.keys.suspend(actor, key_id, now), json=json)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def resume(key_id: KeyId, organization_id: Organization = None, json: Json = False) -> None:
    """Let a suspended key go on."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            _say_status(await plane.keys.resume(actor, key_id, now), json=json)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def report_compromised(
    key_id: KeyId,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")] = "",
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Suspend a key that somebody has seen, at once."""

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            body = {"reason": reason}
            reported = await plane.keys.report_compromised(actor, key_id, body, now)
            _say_status(reported, json=json)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def temporary(
    expires_in: Annotated[
        int | None, typer.Option(help="Seconds that it lives, up to 30 days.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="A REST body as JSON; - is stdin.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the key.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that it may use; more than once.")
    ] = None,
    max_requests: Annotated[int | None, typer.Option(help="Requests in all.")] = None,
    organization_id: Organization = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make a key below the root that ends by itself. Its secret is shown once, here."""
    body = read_body(file) if file else {}
    given = {"expires_in": expires_in, "name": name, "max_requests": max_requests}
    body |= {field: value for field, value in given.items() if value is not None}
    if model:
        lay_over(body, "permissions", {"models": model})

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            made = await plane.keys.create_temporary(actor, body, now)
        say_secret(made, json=json, quiet=quiet)

    run(work())


def _say_status(key: dict[str, Any], *, json: bool) -> None:
    if json:
        say_json(key)
        return
    typer.echo(f"{key['id']} is {key['status']}")
