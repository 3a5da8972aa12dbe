"""The command tree. Each command imports what it needs when it runs."""

from typing import Annotated

import typer

from pdp import __version__
from pdp.cli import key_life, organization, policy_simulate, prices, spool
from pdp.cli.check import check
from pdp.cli.common import ON_DATABASE, Json, control, run, say_json
from pdp.cli.demo import demo
from pdp.cli.logs import audit
from pdp.cli.on_database import on_database
from pdp.cli.reconcile import reconcile
from pdp.cli.serve import serve
from pdp.cli.usage import usage

app = typer.Typer(
    name="pdp",
    help="A policy decision point for AI gateways.",
    epilog="Settings are variables of the environment (PDP_DATA_DIR, ...): docs/settings.md.",
    no_args_is_help=True,
    add_completion=False,
    # Pretty tracebacks show local variables, and one of them may be a raw API key.
    pretty_exceptions_enable=False,
)
app.add_typer(key_life.app, name="keys")
app.add_typer(organization.app, name="organization")
app.add_typer(policy_simulate.app, name="policy")
app.add_typer(prices.app, name="prices")
app.add_typer(spool.app, name="spool")
app.command()(check)
app.command()(serve)
app.command()(demo)
app.command(epilog=ON_DATABASE)(on_database(usage))
app.command(epilog=ON_DATABASE)(on_database(audit))
app.command(epilog=ON_DATABASE)(on_database(reconcile))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pdp {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """A policy decision point for AI gateways."""


@app.command(epilog=ON_DATABASE)
@on_database
def init(
    organization_id: Annotated[
        str | None, typer.Option(help="Id of the organization; default: a new one.")
    ] = None,
    name: Annotated[str, typer.Option(help="Its name, for people.")] = "",
    timezone: Annotated[
        str, typer.Option(help="IANA timezone in which its days and months begin.")
    ] = "UTC",
    json: Json = False,
) -> None:
    """Make the organization and its root key, whose secret is shown once."""
    from pdp.control.initialize import initialize

    async def work() -> None:
        async with control(make=True) as (plane, now):
            made = await initialize(
                plane.database, plane.pepper, now, organization_id, name, timezone
            )
        if json:
            answer = {"organization_id": made.organization_id, "key_id": made.key_id}
            if made.api_key:
                say_json({**answer, "api_key": made.api_key})
            else:
                say_json({**answer, "already_initialized": True})
        elif made.api_key:
            typer.echo(f"organization  {made.organization_id}")
            typer.echo(f"root key      {made.key_id}")
            typer.echo(f"secret        {made.api_key}")
            typer.echo("keep the secret: it is not shown again", err=True)
        else:
            typer.echo(f"organization {made.organization_id} is there already; nothing changed")

    run(work())


@app.command("migrate", epilog=ON_DATABASE)
@on_database
def migrate_command(
    to: Annotated[
        str | None, typer.Option(help="A revision, also an older one; default: the newest.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail unless it is the newest.")
    ] = False,
) -> None:
    """Bring the database to the schema of this version, or back to that of an older one."""
    from pdp.control.plane import open_database
    from pdp.settings import load_settings
    from pdp.store.migrate import check_newest, migrate
    from pdp.store.revision import NEWEST

    async def work() -> None:
        database = open_database(load_settings(), make=not check)
        try:
            before: str | None = NEWEST
            now = to or NEWEST
            if check:
                await check_newest(database)
            else:
                before, now = await migrate(database, now)
        finally:
            await database.close()
        typer.echo(f"at {now} already" if before == now else f"from {before or 'nothing'} to {now}")

    run(work())
