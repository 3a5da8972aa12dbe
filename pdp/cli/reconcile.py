"""`pdp reconcile`: the counters in Redis against the ledger."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdp.cli.common import Json, control, run, say_json, say_table
from pdp.errors import StartRefused
from pdp.wording import instant

if TYPE_CHECKING:
    from pdp.reconcile.drift import Drift
    from pdp.reconcile.reconciler import Outcome

_NANO = 1_000_000_000

IN_MEMORY = (
    "PDP_REDIS_URL: not set, so counters are in the memory of the one data plane, which makes "
    "them anew from its spool at every start: there is nothing to compare; `pdp spool status` "
    "tells whether spool and ledger belong together"
)


Check = Annotated[
    bool, typer.Option("--check", help="Change nothing; fail where anything differs.")
]


def reconcile(
    check: Check = False,
    organization_id: Annotated[
        str | None, typer.Option("--organization-id", help="Default: every organization.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare the counters in Redis with the ledger, while requests go on, and correct them.

    The ledger is right: a counter below it is raised, one above it is lowered unless a data
    plane may have records that explain it. Ends with status 1 where anything still differs.
    """
    from pdp.settings import load_settings

    settings = load_settings()
    if settings.redis_url is None:
        raise StartRefused(IN_MEMORY)
    # Redis' client takes a third of a second to import.
    from pdp.app.reconcile import reconcile as reconciled
    from pdp.reconcile.reconciler import always, never

    outcomes: list[Outcome] = []

    async def work() -> None:
        async with control() as (plane, _):
            outcomes.extend(
                await reconciled(
                    settings, plane.database, never if check else always, organization_id
                )
            )

    run(work())
    if json:
        say_json({"organizations": [_told(outcome) for outcome in outcomes]})
    else:
        for outcome in outcomes:
            _say(outcome)
    if any(outcome.has_drift or outcome.trouble for outcome in outcomes):
        raise typer.Exit(1)


def _told(outcome: "Outcome") -> dict[str, Any]:
    return {
        "organization_id": outcome.organization_id,
        "state": outcome.state.replace(" ", "_"),
        "trouble": outcome.trouble or None,
        "has_drift": outcome.has_drift,
        "moving": outcome.moving,
        "drifts": [_drift(each) for each in outcome.drifts],
        "corrected": len(outcome.corrected),
        "left": [_drift(each) for each in outcome.left],
    }


def _drift(drift: "Drift") -> dict[str, Any]:
    return {
        "api_key_id": drift.key_id,
        "limit": drift.limit,
        "period": drift.period,
        "start": _start(drift),
        "what": drift.what,
        "unit": drift.unit,
        "ledger": drift.ledger,
        "counter": drift.counter,
        "difference": drift.difference,
        "cause": drift.cause or None,
        "is_explained": drift.is_explained,
    }


def _say(outcome: "Outcome") -> None:
    name = outcome.organization_id
    if outcome.trouble:
        typer.echo(f"organization {name} is not compared: {outcome.trouble}", err=True)
        return
    if outcome.state == "not counted":
        typer.echo(f"organization {name}: Redis has no counters of it; the first Check fills them")
        return
    if outcome.moving:
        typer.echo(f"{outcome.moving} sums moved until the end: run it again", err=True)
    if not outcome.drifts:
        typer.echo(f"organization {name}: the counters are what the ledger says")
        return
    _say_drifts(f"Counters of organization {name} that differ", outcome.drifts)
    if outcome.corrected:
        typer.echo(f"corrected: {_sums(len(outcome.corrected))}")
        if outcome.left:
            _say_drifts("Still different", outcome.left)


def _say_drifts(title: str, drifts: Sequence["Drift"]) -> None:
    rows = [
        (
            _what(drift),
            *(_amount(drift, each) for each in (drift.ledger, drift.counter, drift.difference)),
        )
        for drift in drifts
    ]
    say_table(title, ("key", "ledger", "counter", "difference"), rows)
    for drift in {drift.cause: drift for drift in drifts if drift.cause}.values():
        side = "above the ledger, and left alone" if drift.is_explained else "below the ledger"
        typer.echo(f"{side}: {drift.cause}")


def _what(drift: "Drift") -> str:
    """Return a cell of lines: whose it is, what, and since when."""
    lines = [drift.key_id, f"{drift.what}, {drift.limit}"]
    if since := _start(drift):
        lines.append(f"since {since}")
    return "\n".join(lines)


def _amount(drift: "Drift", amount: int) -> str:
    """Return an amount for people: money in USD, exactly."""
    if drift.unit != "nano_usd":
        return str(amount)
    sign = "-" if amount < 0 else ""
    return f"{sign}{abs(amount) // _NANO}.{abs(amount) % _NANO:09d}"


def _start(drift: "Drift") -> str | None:
    return None if drift.period == "total" else instant(drift.start * _NANO)


def _sums(count: int) -> str:
    return "1 sum" if count == 1 else f"{count} sums"
