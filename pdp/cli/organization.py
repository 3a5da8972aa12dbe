"""`pdp organization`: its own settings."""

from typing import Annotated, Any

import typer

from pdp.cli.common import ON_DATABASE, Json, Organization, control, run, say_json, say_table
from pdp.cli.on_database import on_database

app = typer.Typer(help="The organization: its name and its timezone.", no_args_is_help=True)


@app.command(epilog=ON_DATABASE)
@on_database
def get(organization_id: Organization = None, json: Json = False) -> None:
    """Show the settings."""
    from pdp.control.organizations import get_settings

    async def work() -> None:
        async with control() as (plane, _):
            actor = await plane.keys.actor(organization_id)
            _say(await get_settings(plane.database, actor), json=json)

    run(work())


@app.command(epilog=ON_DATABASE)
@on_database
def update(
    name: Annotated[str | None, typer.Option(help="Its name.")] = None,
    timezone: Annotated[
        str | None,
        typer.Option(help="Where its days and months begin; those that are open go on."),
    ] = None,
    organization_id: Organization = None,
    json: Json = False,
) -> None:
    """Change the settings."""
    from pdp.control.organizations import update_settings

    given = {"name": name, "timezone": timezone}
    patch = {field: value for field, value in given.items() if value is not None}
    if not patch:
        raise typer.BadParameter("nothing is to change: give --name or --timezone")

    async def work() -> None:
        async with control() as (plane, now):
            actor = await plane.keys.actor(organization_id)
            _say(await update_settings(plane.database, actor, patch, now), json=json)

    run(work())


def _say(settings: dict[str, Any], *, json: bool) -> None:
    if json:
        say_json(settings)
        return
    say_table("Organization", ("field", "value"), [*settings.items()])
