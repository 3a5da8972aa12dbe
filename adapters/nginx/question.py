"""What NGINX asks: the request of a client, with NGINX's own words about it. Pure.

NGINX passes the client's headers on, and sets each `X-PDP-` header itself, so that none
of those is the client's.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from adapters.http.ask import HttpRequest
from adapters.http.routes import find_route
from pdp.credentials import CREDENTIAL_HEADERS
from pdp.model import Request
from pdp.quota.estimate import prompt_tokens_of_bytes

METHOD: Final = "x-pdp-method"
URI: Final = "x-pdp-uri"
CLIENT_IP: Final = "x-pdp-client-ip"
REQUEST_ID: Final = "x-pdp-request-id"
PROVIDER: Final = "x-pdp-provider"
CALLER_TOKEN: Final = "x-pdp-caller-token"  # noqa: S105  A header's name.
MODEL: Final = "x-pdp-model"
STREAM: Final = "x-pdp-stream"
BODY_BYTES: Final = "x-pdp-body-bytes"
BODY_FILE: Final = "x-pdp-body-file"
"""Not empty: NGINX has the body in a file, where it cannot change it."""

READ: Final = frozenset(
    {
        *CREDENTIAL_HEADERS,
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
        "x-forwarded-for",
        METHOD,
        URI,
        CLIENT_IP,
        REQUEST_ID,
        PROVIDER,
        CALLER_TOKEN,
        MODEL,
        STREAM,
        BODY_BYTES,
        BODY_FILE,
    }
)
"""The headers that are looked at; others are not even kept."""

Headers = Mapping[str, str]


class Received(Struct, frozen=True, gc=False):
    """An HTTP request to our own port; `headers` are those of `READ`, joined by `,`."""

    path: str
    headers: Headers
    body: bytes = b""
    is_head: bool = False


def http_of(received: Received) -> HttpRequest:
    """Return the client's request."""
    headers = received.headers
    return HttpRequest(
        headers.get(METHOD, ""),
        headers.get(URI, ""),
        _named(headers),
        received.body,
        headers.get(CLIENT_IP, ""),
        headers.get(PROVIDER, ""),
    )


def _named(headers: Headers) -> Headers:
    """Return the headers with NGINX's own name for the request: a client's may repeat."""
    return {**headers, "x-request-id": headers.get(REQUEST_ID, "")}


def bodiless_of(received: Received) -> HttpRequest:
    """Return the client's request as `auth_request` tells it: without the body.

    NGINX says itself what the body would decide: the model, and whether it is a stream.
    """
    headers = received.headers
    said = {"model": headers.get(MODEL, ""), "stream": headers.get(STREAM, "") in ("1", "true")}
    kept = {name: text for name, text in _named(headers).items() if name not in _OF_BODIES}
    return HttpRequest(
        headers.get(METHOD, ""),
        headers.get(URI, ""),
        kept,
        msgspec.json.encode(said),
        headers.get(CLIENT_IP, ""),
        headers.get(PROVIDER, ""),
    )


def is_priced_by_body(http: HttpRequest) -> bool:
    """Tell whether a request is to a route whose price nobody knows without its body."""
    route = find_route(http.method, http.path.partition("?")[0])
    return route is not None and bool(route.paid_by or route.form)


_OF_BODIES: Final = ("content-type", "content-encoding")
"""They speak of a body that is not here."""


def unread_body(request: Request, received: Received, *, strict_estimate: bool) -> Request:
    """Return a request with its prompt estimated by the length of the body that NGINX keeps."""
    told = received.headers.get(BODY_BYTES, "")
    size = int(told) if told.isascii() and told.isdecimal() and len(told) < _DIGITS else 0
    return msgspec.structs.replace(
        request, prompt_tokens=prompt_tokens_of_bytes(size, strict_estimate)
    )


_DIGITS: Final = 12
