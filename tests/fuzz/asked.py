"""What a client asked, as a strict reader of the wire has it, and what may come of it."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from msgspec import Struct

from tests.fuzz import oracle
from tests.fuzz.oracle import Unclear, Violation, expect
from tests.fuzz.strict_form import Form, strict_form
from tests.fuzz.world import DEFAULT_OUTPUT, NAMES, World

_SOUND: Final = ("/v1/audio/transcriptions", "/v1/audio/translations")
_SPEECH: Final = "/v1/audio/speech"
_PICTURES: Final = ("/v1/images/edits", "/v1/images/variations")


class Asked(Struct, frozen=True):
    """A request; `address` is the proxy's word about the client. `size` is the body's, in bytes."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str
    size: int

    @property
    def route(self) -> str:
        return self.path.partition("?")[0]

    @property
    def is_form(self) -> bool:
        return self.route in _SOUND + _PICTURES


def seen(asked: Asked) -> dict[str, Any]:
    """Return the decisive members of a body that has been decided on. Raises `Violation`."""
    if asked.method == "GET":
        return {}
    try:
        return _form(asked).fields if asked.is_form else oracle.strict_body(asked.body)
    except Unclear as error:
        raise Violation(f"decided on a body that is not clear: {error}") from error


def _form(asked: Asked) -> Form:
    return strict_form(asked.body, asked.headers.get("content-type", ""))


def check_key(asked: Asked, key_id: str) -> None:
    """Check that a request was decided for the one key that it presents."""
    keys = oracle.presented(asked.headers)
    expect([NAMES.get(each) for each in keys] == [key_id], f"decided for {key_id}, another key")
    expect(not any(oracle.is_in_query(asked.path, each) for each in keys), "a key in the URL")


def check_hold(world: World, asked: Asked, hold: Any) -> None:
    """Check that a permission is for what was asked, may be, and holds exactly enough."""
    check_key(asked, hold.key_id)
    found = seen(asked)
    action = _action(asked, found)
    expect(hold.action == action != "", f"allowed {hold.action}, is {action}")
    expect(hold.model == (found.get("model") or ""), f"allowed {hold.model}, is {found}")
    expect(hold.model or action == "models:list", "allowed without a model")
    least = _tokens(asked, found) if oracle.has_tokens(hold) else 0
    expect(hold.tokens == least, f"holds {hold.tokens} tokens for {least}")
    if asked.is_form:
        _check_units(asked, found, hold)
    address = _address(world, asked)
    allowed = oracle.may(hold.key_id, action, hold.model, address)
    expect(allowed, f"{hold.key_id} may not do {action} with {hold.model} from {address}")
    expect(world.is_alive(hold.key_id), f"{hold.key_id} is dead")


def _action(asked: Asked, found: Mapping[str, Any]) -> str:
    if asked.is_form and asked.method == "POST":
        return "audio:transcribe" if asked.route in _SOUND else "images:generate"
    return oracle.action_of(asked.method, asked.route, found)


def _tokens(asked: Asked, found: Mapping[str, Any]) -> int:
    """Return the tokens that must be held; the figures are those of docs/prices.md."""
    if not asked.is_form:
        spoken = oracle.spoken_in(asked.body) if asked.route == _SPEECH else None
        return oracle.least_tokens(asked.route, asked.size, found, DEFAULT_OUTPUT, spoken)
    form = _form(asked)
    text = ceil(form.text_bytes / 4)
    choices: int = found.get("n", 1)
    if asked.route in _SOUND:
        return text + ceil(form.file_bytes / 1000) * 32 + DEFAULT_OUTPUT * choices
    return text + form.files * 7_000 + max(DEFAULT_OUTPUT, oracle.IMAGE) * choices


def _check_units(asked: Asked, found: Mapping[str, Any], hold: Any) -> None:
    held = (hold.units.images, hold.units.seconds)
    if asked.route in _SOUND:
        expect(held == (0, ceil(_form(asked).file_bytes / 1000)), f"holds {held} of sound")
    else:
        expect(held == (found.get("n", 1), 0), f"holds {held} of pictures")


def _address(world: World, asked: Asked) -> str:
    if not world.trusted_hops:
        return asked.address
    address = asked.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return address.partition(":")[0] if address.count(":") == 1 else address
