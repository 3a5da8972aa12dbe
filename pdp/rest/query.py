"""Query parameters: one table says what a route takes, for parsing and for OpenAPI."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from msgspec import Struct

from pdp.control.listing import seconds_of
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.wording import printable, shown

_MOST: Final = 64
_LONGEST: Final = 512
_LATEST: Final = 2**63 - 1


class Wrong(Exception):
    """What a parser thinks of a value; the message goes behind the parameter's name."""


class Parameter(Struct, frozen=True):
    """A query parameter: its JSON Schema, and what makes a value of its text."""

    name: str
    description: str
    schema: Mapping[str, Any]
    parse: Callable[[str], Any]
    example: Any = None


def read_query(query: str, known: Sequence[Parameter]) -> dict[str, Any]:
    """Return the parsed values of the parameters that are given.

    Raises `InvalidDocument` with every unknown, repeated or wrong one.
    """
    problems = Problems()
    by_name = {parameter.name: parameter for parameter in known}
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST, errors="strict")
    except ValueError:
        problems.add("query", f"not UTF-8, or more than {_MOST} parameters")
        pairs = []
    for name, text in pairs:
        parameter = by_name.get(name)
        if parameter is None:
            problems.add(printable(name) or "query", f"unknown parameter: {_known(by_name)}")
        elif name in found:
            problems.add(name, "is there twice: leave one of them out")
        else:
            found[name] = _parsed(parameter, text, problems)
    problems.raise_if_any()
    return found


def _parsed(parameter: Parameter, text: str, problems: Problems) -> Any:
    try:
        return parameter.parse(text)
    except Wrong as wrong:
        problems.add(parameter.name, str(wrong))
        return None


def _known(names: Mapping[str, Parameter]) -> str:
    return f"use one of {', '.join(names)}" if names else "this route takes none"


def text(name: str, description: str, example: str) -> Parameter:
    """Return a parameter that is printable text."""

    def parse(value: str) -> str:
        if not 0 < len(value) <= _LONGEST or not value.isprintable():
            raise Wrong(f"not printable text of 1 to {_LONGEST} characters")
        return value

    schema = {"type": "string", "minLength": 1, "maxLength": _LONGEST}
    return Parameter(name, description, schema, parse, example)


def choice(name: str, description: str, values: Sequence[str]) -> Parameter:
    """Return a parameter that is one of a few words."""

    def parse(value: str) -> str:
        if value not in values:
            raise Wrong(f"{shown(value)} is not one of {', '.join(values)}")
        return value

    schema = {"type": "string", "enum": list(values)}
    return Parameter(name, description, schema, parse, values[0])


def whole(name: str, description: str, most: int, default: int) -> Parameter:
    """Return a parameter that is a whole number from 1 on."""

    def parse(value: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", value, re.ASCII) or not 1 <= int(value) <= most:
            raise Wrong(f"{shown(value)} is not a whole number from 1 to {most:,}")
        return int(value)

    schema = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return Parameter(name, description, schema, parse, default)


def flag(name: str, description: str) -> Parameter:
    """Return a parameter that is `true` or `false`."""

    def parse(value: str) -> bool:
        # Python's clients write `True`.
        if value.lower() not in ("true", "false"):
            raise Wrong(f"{shown(value)} is neither true nor false")
        return value.lower() == "true"

    schema = {"type": "boolean", "default": False}
    return Parameter(name, description, schema, parse, example=True)


def instant(name: str, description: str) -> Parameter:
    """Return a parameter that is a time; parsed: ns since the epoch."""

    def parse(value: str) -> int:
        # Who writes `+02:00` into a URL as it is sends a blank.
        found = parse_instant(value.replace(" ", "+"))
        if found is None or not 0 <= found <= _LATEST:
            raise Wrong(
                f"{shown(value)} is no time: write it like `2026-01-31T00:00:00Z`, "
                "from 1970 to 2262"
            )
        return found

    schema = {"type": "string", "format": "date-time"}
    return Parameter(name, description, schema, parse, "2026-01-31T00:00:00Z")


def day(name: str, description: str) -> Parameter:
    """Return a parameter that is a date; parsed: as it was."""

    def parse(value: str) -> str:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            raise Wrong(f"{shown(value)} is no day: write it like `2026-01-31`")
        return value

    schema = {"type": "string", "format": "date"}
    return Parameter(name, description, schema, parse, "2026-01-31")


def identity(name: str, description: str) -> Parameter:
    """Return a parameter that is the id of a key."""

    def parse(value: str) -> str:
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", value):
            raise Wrong("not the id of a key: use `id` of the key")
        return value

    schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
    return Parameter(name, description, schema, parse, "key_6f2a9c1d4e8b7035f1a2c3d4")


def span(name: str, description: str) -> Parameter:
    """Return a parameter that is a length of time, such as `90d`; parsed: seconds."""

    def parse(value: str) -> int:
        seconds = seconds_of(value)
        if seconds is None:
            raise Wrong(f"{shown(value)} is no length of time: write it like `90d`, `12h`, `3600`")
        return seconds

    schema = {"type": "string", "pattern": "^[0-9]{1,4}[smhdw]?$"}
    return Parameter(name, description, schema, parse, "90d")


CURSOR: Final = text(
    "cursor", "`next_cursor` of the page before.", "WyJrZXlzIiwxNzk1NCwia2V5XzEiXQ"
)
