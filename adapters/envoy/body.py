"""What a request's JSON body decides: model, stream, sizes. Pure.

Only top-level fields are looked at; the rest is checked for being JSON and left
alone. Whatever two parsers could read differently is refused: a decisive field
twice, also under another case or spelt with escapes, or of another type.
"""

import json
from typing import Any, Final

import msgspec
from msgspec import Struct

_DECISIVE: Final = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
    }
)
_OUTPUT_BOUNDS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_SHORTEST_MEMBER: Final = len(b'"":0,')
MAX_CHOICES: Final = 1024


class BadBody(Exception):
    """The body cannot be decided on. `param` names the field, None if it is the whole."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Body(Struct, frozen=True):
    """The decisive fields. `max_output` is of each of `choices`, None if there is no bound."""

    model: str
    stream: bool
    include_usage: bool
    max_output: int | None
    choices: int


_members: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)


def parse_body(body: bytes) -> Body:
    """Return the decisive fields of a JSON object; raises `BadBody`."""
    try:
        body.decode()
        members = _members.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(
            "the body is not a JSON object in UTF-8: send one, uncompressed"
            if body
            else "the body is empty: send a JSON object"
        ) from error
    _refuse_variants(members)
    if _spare(body, members) >= _SHORTEST_MEMBER:
        _refuse_duplicates(body)
    values = {name: _value(members[name]) for name in _DECISIVE & members.keys()}
    options = values.get("stream_options")
    return Body(
        _model(values.get("model")),
        _flag(values.get("stream"), "stream"),
        isinstance(options, dict) and options.get("include_usage") is True,
        _max_output(values),
        _choices(values.get("n")),
    )


def _refuse_variants(members: dict[str, msgspec.Raw]) -> None:
    """Refuse `Model`: some upstreams fold case, so it may mean another model there."""
    for name in members:
        if name not in _DECISIVE and name.casefold() in _DECISIVE:
            known = name.casefold()
            raise BadBody(
                f"the body has a field spelt almost like `{known}`: write `{known}`", known
            )


def _spare(body: bytes, members: dict[str, msgspec.Raw]) -> int:
    """Return how many bytes of the body the members do not account for.

    Members, their names written as short as JSON can, colons, commas and braces
    make up the body but for white space and escapes. A second member of the same
    name adds at least 5 bytes: with less to spare, there is none.
    """
    names = len(msgspec.json.encode(list(members)))  # With its commas; brackets for braces.
    values = sum(memoryview(value).nbytes for value in members.values())
    return len(body) - names - len(members) - values


def _refuse_duplicates(body: bytes) -> None:
    top: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        # Objects end from the inside out: the last to end is the top one.
        top[:] = [pairs]

    try:
        json.loads(body, object_pairs_hook=keep)
    except (ValueError, RecursionError) as error:
        raise BadBody("the body is nested too deeply: send a plainer one") from error
    seen = set()
    for name, _ in top[0]:
        if name in _DECISIVE and name in seen:
            raise BadBody(f"the body has `{name}` more than once: send it once", name)
        seen.add(name)


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadBody("the body has a field that cannot be read") from error


def _model(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadBody("`model` is not a text", "model")
    if not 0 < len(value) <= 256 or not value.isascii() or not value.isprintable() or " " in value:
        raise BadBody(
            "`model` is not printable ASCII without spaces, up to 256 characters", "model"
        )
    return value


def _flag(value: Any, name: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadBody(f"`{name}` is not true or false", name)
    return value


def _max_output(values: dict[str, Any]) -> int | None:
    """Return the largest output that any reading of the body allows, of one choice."""
    bounds = [_count(values.get(name), name, least=0) for name in _OUTPUT_BOUNDS]
    return max((bound for bound in bounds if bound is not None), default=None)


def _choices(value: Any) -> int:
    choices = _count(value, "n", least=1) or 1
    if choices > MAX_CHOICES:
        raise BadBody(f"`n` is above {MAX_CHOICES}", "n")
    return choices


def _count(value: Any, name: str, least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadBody(f"`{name}` is not a whole number of {least} or more", name)
    return value
