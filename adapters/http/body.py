"""What a request's JSON body decides: model, stream, sizes. Pure.

Only top-level fields are looked at; the rest is checked for being JSON and left
alone. Whatever two parsers could read differently is refused: a decisive field
twice, also under another case or spelt with escapes, or of another type.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from pdp.form import is_model_name

_DECISIVE: Final = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "background",
        "models",
        "service_tier",
        "speed",
    }
)
_HARMLESS: Final = frozenset(
    {
        *("messages", "temperature", "top_p", "stop", "user", "tools", "tool_choice", "metadata"),
        *("response_format", "seed", "system", "top_k", "input", "instructions", "reasoning"),
    }
)
"""Names that are not spelt almost like a decisive one: most members have one of them."""

MAX_CHOICES: Final = 1024
MAX_MEMBERS: Final = 1000
MAX_VALUE: Final = 4096
"""Bytes of a decisive field; to make objects of 8 MB would hold everybody up for 0.3 s."""


class BadBody(Exception):
    """The body cannot be decided on. `param` names the field, None if it is the whole."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Body(Struct, frozen=True, gc=False):
    """The decisive fields. `max_output` is of each of `choices`, None if there is no bound.

    `characters` are those of the text that is to be spoken, None if there is no such text.
    """

    model: str
    stream: bool
    include_usage: bool
    max_output: int | None
    choices: int
    characters: int | None = None


class _Name:
    """A member's name, equal only to itself: a dict of them keeps every duplicate."""

    __slots__ = ()


class _Text(Struct, _Name, frozen=True, eq=False, gc=False):
    """A name with its text. msgspec decodes a `Struct` itself, so `_Name` is none."""

    type: type
    text: str


class _Members:
    """Reads the members of an object, every duplicate kept. For one thread.

    A name costs a call, so there is a bound: 8 MB hold a million names. It is counted only
    where there is room for as many.
    """

    def __init__(self) -> None:
        self._left = 0
        self._few: _Decoder = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_Text)
        self._many: _Decoder = msgspec.json.Decoder(
            dict[_Name, msgspec.Raw], dec_hook=self._counted
        )

    def __call__(self, data: bytes | msgspec.Raw) -> dict[_Text, msgspec.Raw]:
        """Return the members; raises `MsgspecError` or `RecursionError`."""
        if memoryview(data).nbytes < MAX_MEMBERS * _SHORTEST:
            return self._few.decode(data)
        self._left = MAX_MEMBERS
        return self._many.decode(data)

    def _counted(self, type_: type, text: str) -> _Text:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many members")
        return _Text(type_, text)


_Decoder = msgspec.json.Decoder[dict[_Text, msgspec.Raw]]

_SHORTEST: Final = len('"":0,')

_members: Final = _Members()


def parse_body(body: bytes, output_bounds: Sequence[str], spoken: str = "") -> Body:
    """Return the decisive fields of a JSON object; raises `BadBody`.

    `output_bounds` are the fields that bound the output on the route; others of
    that kind mean nothing there. `spoken`: the field whose text is paid for by length.
    """
    try:
        body.decode()  # What is skipped below is not checked for being UTF-8.
        members = _members(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(
            "the body is not a JSON object in UTF-8, uncompressed, with up to "
            f"{MAX_MEMBERS:,} members: send one"
            if body
            else "the body is empty: send a JSON object"
        ) from error
    decisive = _decisive(members, spoken)
    if len(body) > MAX_VALUE:
        _refuse_long(decisive, spoken)
    options = decisive.pop("stream_options", None)
    values = {name: _value(raw) for name, raw in decisive.items()}
    included = options is not None and _includes_usage(options)
    text = values.get(spoken)
    return body_of(values, output_bounds, included, len(text) if isinstance(text, str) else None)


def body_of(
    values: Mapping[str, Any],
    output_bounds: Sequence[str] = (),
    include_usage: bool = False,
    characters: int | None = None,
) -> Body:
    """Return what the values of decisive fields say; raises `BadBody`."""
    if not _UNSEEN.isdisjoint(values):
        _refuse_unseen(values)
    return Body(
        _model(values.get("model")),
        _flag(values.get("stream"), "stream"),
        include_usage,
        _max_output(values, output_bounds),
        _choices(values["n"]) if "n" in values else 1,
        characters,
    )


def is_decisive(name: str) -> bool:
    """Tell whether a field decides; raises `BadBody` for one that is spelt almost like such."""
    if name in _DECISIVE:
        return True
    # Who folds case may also fold `.` and `-`, and take `model[]` for `model`.
    known = _loosely(name).removesuffix("[]").replace(".", "_").replace("-", "_")
    if known in _DECISIVE:
        message = f"the body has a field spelt almost like `{known}`: write `{known}`"
        raise BadBody(message, known)
    return False


def _decisive(members: dict[_Text, msgspec.Raw], spoken: str) -> dict[str, msgspec.Raw]:
    """Return the decisive members; refuse one that comes twice or is spelt almost like one."""
    found: dict[str, msgspec.Raw] = {}
    for name, raw in members.items():
        text = name.text
        if text in _DECISIVE or (spoken and text == spoken):
            if text in found:
                raise BadBody(f"the body has `{text}` more than once: send it once", text)
            found[text] = raw
        elif text not in _HARMLESS and (
            (known := _loosely(text)) in _DECISIVE or (spoken and known == spoken)
        ):
            message = f"the body has a field spelt almost like `{known}`: write `{known}`"
            raise BadBody(message, known)
    return found


def _refuse_long(decisive: Mapping[str, msgspec.Raw], spoken: str) -> None:
    """Refuse a value that would take long to read; a text that is spoken may be long."""
    for name, raw in decisive.items():
        value = memoryview(raw)
        if value.nbytes > MAX_VALUE and not (name == spoken and value[0] == _QUOTE):
            raise BadBody(f"`{name}` is longer than {MAX_VALUE:,} bytes: shorten it", name)


_QUOTE: Final = ord('"')


def _loosely(name: str) -> str:
    """Return a name as upstreams may read it that fold case, or end it at its first null."""
    return name.casefold().partition("\0")[0]


def _refuse_unseen(values: Mapping[str, Any]) -> None:
    """Refuse what changes the model or the price behind the policy's back."""
    if values.get("background"):
        raise BadBody("`background` is not supported here: its usage comes too late", "background")
    if values.get("models"):
        raise BadBody("`models` is not supported here: name one `model`", "models")
    if values.get("service_tier") not in _USUAL_TIERS:
        message = "`service_tier` has another price: use one of `auto`, `default`, `flex`"
        raise BadBody(message, "service_tier")
    # Anthropic's; that of speech is a number.
    if isinstance(values.get("speed"), str) and values["speed"] != "standard":
        raise BadBody("`speed` has another price: leave it out", "speed")


_UNSEEN: Final = frozenset({"background", "models", "service_tier", "speed"})
_USUAL_TIERS: Final = (None, "auto", "default", "flex", "standard_only")


def _includes_usage(options: msgspec.Raw) -> bool:
    """Tell whether a stream will surely tell its usage: asked for once, and by its right name."""
    try:
        members = _members(options)
    except (msgspec.MsgspecError, RecursionError):
        return False
    asked = [
        (name.text, _value(raw))
        for name, raw in members.items()
        if _loosely(name.text) == "include_usage"
    ]
    return len(asked) == 1 and asked[0][0] == "include_usage" and asked[0][1] is True


_decode: Final = msgspec.json.Decoder().decode


def _value(raw: msgspec.Raw) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadBody("the body has a field that cannot be read") from error


def _model(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadBody("`model` is not a text", "model")
    if not is_model_name(value):
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


def _max_output(values: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """Return the largest output that any reading of the body allows, of one choice."""
    most = None
    for name in names:
        bound = _count(values[name], name, least=0) if name in values else None
        if bound is not None and (most is None or bound > most):
            most = bound
    return most


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
