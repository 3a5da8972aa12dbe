"""`pdp policy`: check, test, reference; `simulate` is in `policy_simulate`. Needs no database."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pdp.cli.common import Json, say_json
from pdp.errors import InvalidDocument, Problem

if TYPE_CHECKING:
    from pdp.control.policy_table import Case
    from pdp.control.prices import Prices
    from pdp.control.simulation import Rules
    from pdp.problems import Problems

T = TypeVar("T")

app = typer.Typer(help="Policies: check them and test them.", no_args_is_help=True)

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON or YAML; - is stdin.")]


@app.command()
def check(files: Files, json: Json = False) -> None:
    """Tell every fault of policies, or of bodies that make keys, with its place.

    Exit status 1 if there is one. Warnings are told, too, and change no status.
    """
    from pdp.control.policies import validate

    results = []
    for file in files:
        try:
            found = validate(one_document(file), time.time_ns())
        except InvalidDocument as error:
            found = {"valid": False, "errors": _located(file, error), "warnings": []}
        results.append({"file": file, **found})
    if json:
        say_json({"files": results})
    else:
        _say_results(results)
    if not all(each["valid"] for each in results):
        raise typer.Exit(1)


def _say_results(results: list[dict[str, Any]]) -> None:
    for result in results:
        file = result["file"]
        for kind, prefix in (("errors", ""), ("warnings", "warning: ")):
            for each in result[kind]:
                place = f"{file}:{each['location']}".strip(":")
                typer.echo(f"{place}: {prefix}{each['message']}", err=True)
        if result["valid"]:
            typer.echo(f"{file}: ok")


@app.command("test")
def run_tables(
    files: Files,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show what failed alone.")] = False,
    json: Json = False,
) -> None:
    """Run tables of requests and what is to become of them: docs/policy-tests.md.

    The engine itself decides, with the settings of the environment. Exit status 1 if a check
    fails.
    """
    cases = [(file, case) for file in files for case in _cases(file)]
    rules = rules_here()
    results = [_run(file, case, rules) for file, case in cases]
    failed = [each for each in results if not each["passed"]]
    counts = {"total": len(results), "passed": len(results) - len(failed), "failed": len(failed)}
    if json:
        say_json({"checks": results, **counts})
    else:
        for each in failed if quiet else results:
            _say_check(each)
        checks = "1 check" if len(results) == 1 else f"{len(results)} checks"
        typer.echo(f"{checks}: {counts['passed']} ok, {counts['failed']} failed")
    if failed:
        raise typer.Exit(1)


@app.command()
def reference() -> None:
    """Print what every operator of a condition takes and compares, as Markdown."""
    from pdp.policy.reference import reference_page

    typer.echo(reference_page(), nl=False)


def _cases(file: str) -> "list[Case]":
    from pdp.control.policy_table import read_table
    from pdp.control.yaml_body import decode_documents
    from pdp.problems import Problems

    folder = Path() if file == "-" else Path(file).parent

    def read_file(name: str, at: str, problems: "Problems") -> object:
        try:
            return one_document(str(folder / name))
        except InvalidDocument as error:
            for each in error.problems:
                problems.add(at, str(each))
            return None

    found: list[Case] = []
    problems = Problems()
    documents = in_file(file, lambda: decode_documents(_read(file), file))
    if not documents:
        problems.add("checks", "there are none: the file is empty")
    for index, document in enumerate(documents):
        at = "" if len(documents) == 1 else f"tables[{index}]"
        found += read_table(document, at, Path(file).stem, problems, read_file)
    in_file(file, problems.raise_if_any)
    return found


def in_file(file: str, work: Callable[[], T]) -> T:
    """Do something with a file; its faults are told, and end the command."""
    try:
        return work()
    except InvalidDocument as error:
        for each in _located(file, error):
            typer.echo(f"{file}:{each['location']}".strip(":") + f": {each['message']}", err=True)
        raise typer.Exit(1) from error


def _located(file: str, error: InvalidDocument) -> list[dict[str, str]]:
    """Return faults with places within the file: of one as a whole it is empty."""
    found = []
    for each in error.problems:
        place = "" if each.location == file else each.location.removeprefix(f"{file}:").lstrip(".")
        found.append({"location": place, "message": each.message})
    return found


def rules_here() -> "Rules":
    """Return prices and choices of the environment, for the engine."""
    from pdp.control.current_prices import CurrentPrices
    from pdp.control.price_overrides import load_overrides
    from pdp.control.simulation import Rules
    from pdp.settings import engine_options, load_settings

    settings = load_settings()
    own = load_overrides(settings.prices_file) if settings.prices_file else ()

    @cache
    def made() -> "Prices":
        from pdp.control.prices import make_prices

        return make_prices(own, datetime.now(UTC))

    return Rules(CurrentPrices(made), engine_options(settings))


def _run(file: str, case: "Case", rules: "Rules") -> dict[str, Any]:
    from pdp.control.policies import simulated

    answer = simulated(case.resolved, case.asked, rules)
    expected = case.expected
    faults = expected.faults(answer)
    return {
        "file": file,
        "table": case.table,
        "name": case.name,
        "passed": not faults,
        "faults": faults,
        "expected": {
            "decision": expected.decision,
            "reason": expected.reason,
            "statement": expected.statement,
            "message": list(expected.message),
        },
        "actual": answer,
    }


def _say_check(result: dict[str, Any]) -> None:
    what = "ok  " if result["passed"] else "FAIL"
    typer.echo(f"{what}  {result['table']}: {result['name']}")
    if result["passed"]:
        return
    expected, actual = result["expected"], result["actual"]
    for name in result["faults"]:
        got = actual["matched_statement"] if name == "statement" else actual[name]
        wanted = " ... ".join(expected[name]) if name == "message" else expected[name]
        typer.echo(f"      {name}: expected {wanted or 'none'}, got {got or 'none'}")
    statement = actual["matched_statement"]
    by = f" by {statement}" if statement else ""
    typer.echo(f"      decided: {actual['decision']} {actual['reason']}{by}")
    if actual["message"]:
        typer.echo(f"      because: {actual['message']}")


def one_document(file: str) -> object:
    """Return the one document of a file, `-` for stdin. Raises `InvalidDocument`."""
    from pdp.control.yaml_body import decode_documents

    documents = decode_documents(_read(file), file)
    if len(documents) != 1:
        message = "is empty" if not documents else f"has {len(documents)} documents: divide it"
        raise InvalidDocument([Problem(file, message)])
    return documents[0]


def _read(file: str) -> bytes:
    from pdp.control.yaml_body import MOST_BYTES

    try:
        if file == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "cannot be read").lower()
        raise InvalidDocument([Problem(file, reason)]) from error
