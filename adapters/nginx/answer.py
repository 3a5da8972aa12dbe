"""What NGINX is answered: where the request goes, or the denial itself. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from adapters.http.denial import denial_of
from pdp.model import Decision
from pdp.reasons import REASONS

REDIRECT: Final = "x-accel-redirect"
REFERENCE: Final = "x-pdp-reference"
STATUS: Final = "x-pdp-status"
ERROR: Final = "x-pdp-error"

LLM: Final = "@llm"
LLM_INJECT: Final = "@llm_inject"
"""Names of NGINX's locations: where requests go, and where streams that must be asked for
their usage do. Named ones keep method, URI, arguments and body, and no client can reach them."""


class Reply(Struct, frozen=True, gc=False):
    """An HTTP response. `undo` is what to do if it does not arrive; `void`: in any case.

    `close`: nothing more is read from its connection.
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    undo: Callable[[], Any] | None = None
    void: bool = False
    close: bool = False


def allowed(
    decision: Decision, reference: str, *, force_usage: bool, undo: Callable[[], Any] | None
) -> Reply:
    """Return a permission. It has no body: with one NGINX would not keep the connection."""
    where = LLM_INJECT if force_usage else LLM
    headers = {REDIRECT: where, REFERENCE: reference, **decision.response_headers}
    return Reply(200, headers, undo=undo)


def denied(decision: Decision, param: str | None = None) -> Reply:
    """Return a denial as the client gets it."""
    return Reply(*denial_of(decision, param))


def auth_allowed(
    decision: Decision, reference: str, *, force_usage: bool, undo: Callable[[], Any] | None
) -> Reply:
    """Return a permission for `auth_request`, which looks at the status alone."""
    del force_usage  # The body is not here to be asked anything.
    return Reply(200, {REFERENCE: reference, **decision.response_headers}, undo=undo)


def auth_denied(decision: Decision, param: str | None = None) -> Reply:
    """Return a denial for `auth_request`, which knows no status but 401 and 403.

    The true one, and the body, go in headers, for NGINX's `error_page` to make them up again.
    """
    status, headers, body = denial_of(decision, param)
    del headers["content-type"]
    told = json.dumps(msgspec.json.decode(body), separators=(",", ":"))  # In ASCII, on one line.
    return Reply(401 if status == 401 else 403, {**headers, STATUS: str(status), ERROR: told})


def refused(reason: str, message: str, *, status: int = 0) -> Reply:
    """Return what is said to a request that is not even read to its end; none follows it."""
    error = {
        "message": message,
        "type": REASONS[reason].error_type,
        "param": None,
        "code": reason,
    }
    headers = {"content-type": "application/json"}
    if reason == "unavailable":
        headers["retry-after"] = "1"
    else:
        headers["x-should-retry"] = "false"
    status = status or REASONS[reason].http_status
    return Reply(status, headers, msgspec.json.encode({"error": error}), close=True)


_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def encode(reply: Reply, *, is_head: bool, keep: bool) -> bytes:
    """Return a response as HTTP/1.1 writes it; raises `ValueError` for a header that breaks out."""
    head = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, '')}"]
    head += [f"{name}: {value}" for name, value in reply.headers.items()]
    head.append(f"content-length: {len(reply.body)}")
    if not keep:
        head.append("connection: close")
    text = "\r\n".join(head)
    if text.count("\n") != len(head) - 1 or text.count("\r") != len(head) - 1 or "\0" in text:
        raise ValueError("a header's value has a line end")
    raw = text.encode() + b"\r\n\r\n"
    return raw if is_head else raw + reply.body
