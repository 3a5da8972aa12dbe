"""Bodies as they come in: JSON, in which nothing is said twice."""

import json
from typing import Any

import msgspec

from pdp.errors import InvalidDocument, Problem
from pdp.problems import Problems
from pdp.wording import printable


def decode_body(data: bytes, at: str) -> Any:
    """Return what JSON says. Raises `InvalidDocument`; `at` names the body in its message.

    A field that an object has twice is refused: parsers disagree about which
    one counts, and a Deny that a reviewer has seen must not be undone below.
    """
    try:
        body = msgspec.json.decode(data)
        told = json.loads(data, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
        problems = Problems()
        _find_repeated(told, "", problems)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocument([Problem(at, f"not JSON: {error}")]) from error
    problems.raise_if_any()
    return body


class _Pairs(list[tuple[str, Any]]):
    """The fields of an object, as written."""


def _find_repeated(value: Any, at: str, problems: Problems) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for name, each in value:
            place = f"{at}.{name}" if at else name
            if name in seen:
                problems.add(printable(place), "is there twice: leave one of them out")
            seen.add(name)
            _find_repeated(each, place, problems)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _find_repeated(each, f"{at}[{index}]", problems)
