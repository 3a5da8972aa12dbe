"""What is right, worked out another way than by the code under test."""

import json
import re
import sys
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Any
from urllib.parse import unquote_plus

from tests.fuzz.bodies import DECISIVE

CREDENTIALS = ("authorization", "x-api-key", "api-key")
OFFICE = ip_network("203.0.113.0/24")


class Violation(AssertionError):
    """An invariant is broken."""


def expect(holds: object, what: str) -> None:
    """Raise `Violation` if something does not hold."""
    if not holds:
        raise Violation(what)


class Unclear(Exception):
    """A strict parser refuses the body, or two parsers could read it differently."""


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, in order, duplicates kept."""


def strict_body(data: bytes) -> dict[str, Any]:
    """Return the decisive members as every JSON parser sees them; raises `Unclear`."""
    found: dict[str, Any] = {}
    for name, value in _members(data):
        folded = name.casefold()
        if folded in DECISIVE:
            if folded in found or folded != name:
                raise Unclear(f"`{name}` is written twice, or not exactly")
            found[name] = value
    return found


def spoken_in(data: bytes) -> int | None:
    """Return the characters of the text that is to be spoken; None: there is none."""
    text = dict(_members(data)).get("input")
    return len(text) if isinstance(text, str) else None


def _members(data: bytes) -> _Pairs:
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(usual + 5000)  # Deeper than the parser under test goes.
    try:
        pairs = json.loads(
            data.decode(), object_pairs_hook=_Pairs, parse_constant=_refuse, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise Unclear(str(error)) from error
    finally:
        sys.setrecursionlimit(usual)
    if not isinstance(pairs, _Pairs):
        raise Unclear("not an object")
    return pairs


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _integer(text: str) -> Any:
    return int(text) if len(text) < 4000 else text


STREAMS = {
    "/v1/chat/completions": ("chat:completions", "chat:stream"),
    "/v1/messages": ("chat:completions", "chat:stream"),
    "/v1/responses": ("responses:create", "responses:stream"),
}
PLAIN = {
    "/v1/embeddings": "embeddings:create",
    "/v1/images/generations": "images:generate",
    "/v1/audio/speech": "audio:speech",
    "/v1/moderations": "moderations:create",
}
_BOUNDS = {
    "/v1/chat/completions": ("max_tokens", "max_completion_tokens"),
    "/v1/messages": ("max_tokens",),
    "/v1/responses": ("max_output_tokens",),
}
NO_OUTPUT = ("embeddings:create", "moderations:create")
"""Actions that answer with nothing that is counted in tokens."""


def action_of(method: str, path: str, body: Mapping[str, Any]) -> str:
    """Return what a request does, empty if its route is not open."""
    if (method, path) == ("GET", "/v1/models"):
        return "models:list"
    if method != "POST":
        return ""
    if path in STREAMS:
        return STREAMS[path][body.get("stream") is True]
    return PLAIN.get(path, "")


IMAGE = 6_600
"""Tokens that an image may be; see docs/prices.md."""

SPOKEN = 4
"""Tokens that a character of speech may be, as well."""


def has_tokens(hold: Any) -> bool:
    """Tell whether a hold is for tokens at all: not what is paid for by the piece alone."""
    return hold.units is None or hold.price is None or hold.price.by_token


def least_tokens(
    path: str, size: int, body: Mapping[str, Any], default: int, spoken: int | None = None
) -> int:
    """Return the tokens that a request may take, at the least that must be held."""
    if path == "/v1/models" or PLAIN.get(path) in NO_OUTPUT:
        return ceil(size / 4)
    bounds = [body[name] for name in _BOUNDS.get(path, ()) if body.get(name) is not None]
    if path == "/v1/images/generations":
        default = max(default, IMAGE)
    if path == "/v1/audio/speech":
        default = max(default, SPOKEN * (size if spoken is None else spoken))
    return ceil(size / 4) + max(bounds, default=default) * (body.get("n") or 1)


def asks_for_usage(body: Mapping[str, Any]) -> bool:
    """Tell whether every parser sees that a stream asks for its usage."""
    options = body.get("stream_options")
    if not isinstance(options, _Pairs):
        return False
    asked = [(name, value) for name, value in options if name.casefold() == "include_usage"]
    return asked == [("include_usage", True)] and asked[0][1] is True


def presented(headers: Mapping[str, str]) -> set[str]:
    """Return every key that a request presents, by whatever header."""
    found = {headers.get(name, "").strip() for name in ("x-api-key", "api-key")}
    bearer = re.fullmatch(r"\s*bearer (.*)", headers.get("authorization", ""), re.I | re.S)
    if bearer:
        found.add(bearer[1].strip())
    return found - {""}


def is_in_query(path: str, secret: str) -> bool:
    """Tell whether a key stands in a URL."""
    return secret in unquote_plus(path.partition("?")[2])


def is_office(address: str) -> bool:
    """Tell whether an address is in the allowlist of the key `office`."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found) in OFFICE


def may(name: str, action: str, model: str, address: str) -> bool:
    """Tell whether the guards of a key could ever allow this; limits aside."""
    if name == "reader":
        return action in ("models:list", "usage:read")
    if name == "listed":
        listed = ("gpt-4o", "gpt-4o-mini", "claude-3-5-sonnet-20241022")
        return model in listed or action in ("models:list", "usage:read")
    if name == "barred":
        folded = model.lower()
        barred = folded.startswith("o1") or folded.endswith("-mini")
        return action.startswith("chat:") and not barred
    if name == "office":
        return is_office(address)
    return name in ("root", "team", "open", "tight", "thrifty", "ending")


HEADER_NAME = re.compile(r"[a-z0-9-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


def check_headers(headers: Mapping[str, str], *, denied: bool) -> None:
    """Check that headers can be sent as they are, and say one thing about retries."""
    for name, value in headers.items():
        expect(HEADER_NAME.fullmatch(name), f"header name {name!r}")
        expect(HEADER_VALUE.fullmatch(value), f"header {name}: {value!r}")
    retries = ("retry-after" in headers) + ("x-should-retry" in headers)
    expect(retries == (1 if denied else 0), "retry-after or x-should-retry, one of them, if denied")
