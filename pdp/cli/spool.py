"""`pdp spool`: what waits on disk to come into the ledger."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdp.cli.common import Json, run, say_json
from pdp.errors import PdpError

if TYPE_CHECKING:
    from pdp.settings import Settings
    from pdp.spool.status import SpoolFiles

app = typer.Typer(help="The data plane's records on their way to the ledger.", no_args_is_help=True)

_WORDS = {
    "new": "has nothing of it yet",
    "paired": "is this spool's",
    "old copy": "has more of it: the spool is an old copy, and no data plane starts with it",
    "other ledger": "lacks records that are gone here: it is another ledger, or an old copy",
}
_WRONG = ("old copy", "other ledger")
_LOOKS = 3


@app.callback()
def _spool() -> None:
    """The data plane's records on their way to the ledger."""


@app.command()
def status(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the spool is; default: PDP_DATA_DIR.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what is on disk and not in the ledger yet; beside a running server or without one.

    Of several workers it shows each spool; in JSON those after the first are its `others`.
    Ends with status 1 where spool and ledger do not belong together.
    """
    from pdp.seat import further_spools
    from pdp.settings import load_settings
    from pdp.spool.status import look

    if data_dir is not None:
        os.environ["PDP_DATA_DIR"] = str(data_dir)
    settings = load_settings()
    folders = (settings.spool_dir, *further_spools(settings, 1))
    for folder in folders:
        look(folder)  # One that is not there is said before the ledger is asked.
    found: list[dict[str, Any]] = []

    async def work() -> None:
        found.extend([await _both(settings, folder) for folder in folders])

    run(work())
    if json:
        say_json({**found[0], "others": found[1:]})
    else:
        for each in found:
            _say(each)
    if any(each["pairing"] in _WRONG for each in found):
        raise typer.Exit(1)


async def _both(settings: "Settings", folder: Path) -> dict[str, Any]:
    """Return what a spool and the ledger say of each other.

    A data plane goes on meanwhile: what looks wrong beside one is looked at again.
    """
    from pdp.spool.status import look

    for _ in range(_LOOKS):
        ledger, trouble = None, ""
        try:
            ledger = await _ledger_has(settings, look(folder).spool_id)
        except PdpError as error:
            trouble = str(error)
        files = look(folder)  # After the ledger, or it could have more by then.
        told = _told(files, ledger, trouble, settings.spool_max_bytes, time.time_ns())
        if told["pairing"] not in _WRONG or not files.in_use:
            break
    return told


async def _ledger_has(settings: "Settings", spool_id: str) -> int:
    """Return how many records of a spool the ledger has, as its database or server says."""
    if settings.control_url:
        from pdp.app.tls import line_tls
        from pdp.data.control import ControlClient

        tls = line_tls(settings, "client", settings.control_url, "PDP_CONTROL_URL")
        client = ControlClient(
            settings.control_url, "", tls=tls, server_name=settings.control_tls_name
        )
        try:
            return await client.ingest(spool_id, 0, ())
        finally:
            await client.close()
    from pdp.control.ingest import ingest
    from pdp.control.plane import open_database

    database = open_database(settings, make=False)
    try:
        return await ingest(database, spool_id, 0, ())
    finally:
        await database.close()


def _told(
    files: "SpoolFiles", ledger: int | None, trouble: str, max_bytes: int, now: int
) -> dict[str, Any]:
    from pdp.spool.status import pairing_of, time_of

    oldest = time_of(files, ledger or 0)
    return {
        "directory": str(files.directory),
        "spool_id": files.spool_id,
        "in_use": files.in_use,
        "records": files.end - files.first,
        "bytes": files.bytes,
        "max_bytes": max_bytes,
        "segments": files.segments,
        "first_record": files.first,
        "next_record": files.end,
        "synced_before": files.synced,
        "checkpoint_before": files.checkpoint,
        "checkpoint_at": _instant(files.checkpoint_at),
        "ledger_before": ledger,
        "ledger_problem": trouble or None,
        "pairing": "unknown" if ledger is None else pairing_of(files, ledger),
        "unshipped": None if ledger is None else max(0, files.end - max(ledger, files.first)),
        "oldest_at": _instant(oldest),
        "oldest_age_seconds": None if oldest is None else max(0, (now - oldest) // 1_000_000_000),
    }


def _say(found: dict[str, Any]) -> None:
    used = "in use by a data plane" if found["in_use"] else "no data plane has it open"
    lines = [
        ("spool", f"{found['directory']} ({found['spool_id']}), {used}"),
        (
            "on disk",
            f"{found['records']:,} records in {_segments(found['segments'])}: "
            f"{_size(found['bytes'])} of {_size(found['max_bytes'])}",
        ),
        ("synced", _before(found["synced_before"], "nobody knows up to where")),
        ("checkpoint", _checkpoint(found)),
        ("ledger", _ledger(found)),
        ("waiting", _waiting(found)),
    ]
    for name, words in lines:
        typer.echo(f"{name:11} {words}")


def _checkpoint(found: dict[str, Any]) -> str:
    if found["checkpoint_at"] is None:
        return "there is none yet"
    return f"{_before(found['checkpoint_before'], '')}, written {found['checkpoint_at']}"


def _ledger(found: dict[str, Any]) -> str:
    if found["ledger_before"] is None:
        return f"not known: {found['ledger_problem']}"
    return f"{_WORDS[found['pairing']]}; has {_before(found['ledger_before'], '')}"


def _segments(number: int) -> str:
    return "1 segment" if number == 1 else f"{number:,} segments"


def _size(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number} bytes"


def _waiting(found: dict[str, Any]) -> str:
    age = found["oldest_age_seconds"]
    if found["unshipped"] is None:
        return "not known" if age is None else f"the oldest record on disk is {age:,} s old"
    if not found["unshipped"]:
        return "nothing: the ledger has it all"
    return f"{found['unshipped']:,} records, the oldest {age:,} s old"


def _before(number: int | None, otherwise: str) -> str:
    return otherwise if number is None else f"all before record {number:,}"


def _instant(ns: int | None) -> str | None:
    if ns is None:
        return None
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")
