"""Bodies of keys from files and options, and what is said of a key that was made or changed."""

import sys
from pathlib import Path
from typing import Any

import typer

from pdp.cli.common import say_json
from pdp.errors import InvalidDocument, Problem


def read_body(file: str) -> dict[str, Any]:
    """Return the JSON object in a file, `-` for stdin. Raises `InvalidDocument`."""
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


def lay_over(body: dict[str, Any], field: str, options: dict[str, Any]) -> None:
    """Put options before what the body says; what is no object there is refused as it is."""
    authored = body.get(field)
    if authored is None or isinstance(authored, dict):
        body[field] = {**(authored or {}), **options}


def say_secret(made: dict[str, Any], *, json: bool, quiet: bool) -> None:
    """Print a key with its new secret, and nothing but that with `quiet`."""
    say_warnings(made)
    if json:
        say_json(made)
        return
    if quiet:
        typer.echo(made["api_key"])
        return
    typer.echo(f"key     {made['id']}  {made['name']}")
    typer.echo(f"secret  {made['api_key']}")
    typer.echo("keep the secret: it is not shown again", err=True)


def say_warnings(answer: dict[str, Any]) -> None:
    """Print what is of no effect in an answer, on stderr."""
    for warning in answer.get("warnings", ()):
        typer.echo(f"warning: {warning}", err=True)
