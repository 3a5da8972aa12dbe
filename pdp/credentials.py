"""Which API key a request presents. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "api-key")
"""All are stripped before the request goes upstream."""

_IN_QUERY: Final = frozenset(
    {"key", "api_key", "apikey", "access_token", "token", "bearer", "secret"}
    | set(CREDENTIAL_HEADERS)
)


class BadCredentials(Exception):
    """The request presents keys in a way that is never right. The message has none of them."""


def api_key_of(headers: Mapping[str, str], query: str) -> str:
    """Return the raw key, empty if there is none; `headers` by lower-case name.

    Raises `BadCredentials` for two that differ, or one in the URL.
    """
    if query and _has_key(query):
        raise BadCredentials("the URL may hold an API key, and URLs end up in logs: use a header")
    found = ""
    for name in CREDENTIAL_HEADERS:
        value = headers.get(name)
        key = _presented(name, value) if value else ""
        if found and key and key != found:
            raise BadCredentials("the request presents two different API keys: send one")
        found = found or key
    return found


def _presented(name: str, value: str) -> str:
    if name != "authorization":
        return value.strip()
    scheme, _, key = value.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _has_key(query: str) -> bool:
    # Ours, wherever it stands: as a value, a name without one, or behind `Bearer`.
    if "vsk_" in unquote_plus(query):
        return True
    try:
        # Some servers divide fields at semicolons as well.
        pairs = parse_qsl(query.replace(";", "&"), max_num_fields=100)
    except ValueError:
        return True  # More fields than any client sends; who knows what hides there.
    return any(name.lower() in _IN_QUERY for name, _ in pairs)
