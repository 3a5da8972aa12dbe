"""What went wrong, as the API's errors: {"error": {"message", "type", "param", "code"}}."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from pdp.credentials import BadCredentials
from pdp.errors import (
    Conflict,
    Forbidden,
    InvalidDocument,
    NotFound,
    PdpError,
    PreconditionFailed,
    Unauthorized,
    Unavailable,
)
from pdp.reasons import REASONS
from pdp.rest.answer import Answer

_MOST_PROBLEMS: Final = 50
"""Told of one document: a body of nothing but unknown fields has thousands."""


class Code(Struct, frozen=True):
    """A value of `error.code` with its HTTP status and `error.type`."""

    name: str
    status: int
    type: str = "invalid_request_error"


_OWN = (
    Code("forbidden", 403, "permission_error"),
    Code("not_found", 404),
    Code("method_not_allowed", 405),
    Code("request_timeout", 408),
    Code("conflict", 409),
    Code("precondition_failed", 412),
    Code("unsupported_media_type", 415),
    Code("internal_error", 500, "server_error"),
)
_SHARED = (
    "invalid_request",
    "missing_key",
    "invalid_api_key",
    "key_expired",
    "key_revoked",
    "key_suspended",
    "ip_not_allowed",
    "body_too_large",
    "unavailable",
)

CODES: Final[dict[str, Code]] = {
    **{name: Code(name, REASONS[name].http_status, REASONS[name].error_type) for name in _SHARED},
    **{code.name: code for code in _OWN},
}
"""Every code of the admin API; those of decisions mean what they mean there."""


class HttpFault(PdpError):
    """A request that no use case gets to see. `code` is one of `CODES`."""

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = dict(headers or {})


_BY_TYPE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (BadCredentials, "invalid_api_key"),
    (PreconditionFailed, "precondition_failed"),
    (Conflict, "conflict"),
    (Forbidden, "forbidden"),
    (NotFound, "not_found"),
)


def answer_of(error: Exception) -> Answer | None:
    """Return the answer to an error that was foreseen, None to a defect."""
    if isinstance(error, InvalidDocument):
        return _invalid(error)
    if isinstance(error, HttpFault):
        return error_answer(error.code, str(error), headers=error.headers)
    if isinstance(error, Unauthorized):
        return error_answer(error.reason, str(error))
    if isinstance(error, Unavailable):
        headers = {"retry-after": str(max(1, error.retry_after))}
        return error_answer("unavailable", str(error), headers=headers)
    for kind, code in _BY_TYPE:
        if isinstance(error, kind):
            return error_answer(code, str(error))
    return None


def defect_answer() -> Answer:
    """Return the answer to a defect, which tells nothing of it."""
    message = "something is broken here: tell your administrator the `x-request-id`"
    return error_answer("internal_error", message)


def error_answer(
    code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an error; `param` is the place in the request that it is about."""
    known = CODES[code]
    body = {"message": message, "type": known.type, "param": param, "code": code}
    # RFC 9110: a 401 says how to do it right.
    challenge = {"www-authenticate": "Bearer"} if known.status == 401 else {}
    return Answer({"error": body}, known.status, {**challenge, **(headers or {})})


def _invalid(error: InvalidDocument) -> Answer:
    told = [str(problem) for problem in error.problems[:_MOST_PROBLEMS]]
    if more := len(error.problems) - len(told):
        told.append(f"and {more} more")
    return error_answer("invalid_request", "; ".join(told), _first_location(error))


def _first_location(error: InvalidDocument) -> Any:
    return error.problems[0].location if error.problems else None
