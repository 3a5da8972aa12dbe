"""Bodies of requests: JSON, bounded in size and in time."""

import asyncio
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request

from pdp.control.body import decode_body
from pdp.control.key_document import MOST_BYTES
from pdp.errors import InvalidDocument, Problem
from pdp.rest.faults import HttpFault

DEADLINE: Final = 10.0
"""Seconds for a whole body to come in."""

_DRAINED: Final = 1024 * 1024
"""Bytes of a body too large that are read all the same: a client that is still writing
would not see the answer."""

JSON_TYPES: Final = ("application/json",)
PATCH_TYPES: Final = ("application/json", "application/merge-patch+json")

_ENCODINGS: Final = ("", "utf-8", "utf8")


async def read_content(request: Request, types: tuple[str, ...], *, optional: bool) -> bytes:
    """Return the raw body, which says that it is one of `types`.

    With `optional` it may be empty, whatever it says. Raises `HttpFault`: 408, 413, 415.
    """
    data = await _read(request)
    if not data and optional:
        return data
    _check_type(request.headers.get("content-type", ""), types)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HttpFault("unsupported_media_type", "the body is compressed: send it as it is")
    return data


def decode_content(data: bytes, *, optional: bool) -> dict[str, Any]:
    """Return the object that a body is; with `optional`, none at all is an empty one.

    Raises `InvalidDocument`.
    """
    body = {} if optional and not data else decode_body(data, "body")
    if not isinstance(body, dict):
        raise InvalidDocument([Problem("body", "not a JSON object")])
    return body


async def _read(request: Request) -> bytes:
    data = bytearray()
    try:
        async with asyncio.timeout(DEADLINE):
            async for chunk in request.stream():
                data += chunk
                if len(data) > _DRAINED:
                    break
    except TimeoutError as error:
        message = f"the body did not come within {DEADLINE:.0f} s: send it faster"
        raise HttpFault("request_timeout", message, {"connection": "close"}) from error
    except ClientDisconnect as error:
        raise HttpFault("request_timeout", "the body was not sent to its end") from error
    if len(data) > MOST_BYTES:
        close = {"connection": "close"} if len(data) > _DRAINED else {}
        message = "the body has more than 64 KiB: say less in one request"
        raise HttpFault("body_too_large", message, close)
    return bytes(data)


def _check_type(header: str, types: tuple[str, ...]) -> None:
    media, _, parameters = header.partition(";")
    if media.strip().lower() not in types:
        raise HttpFault(
            "unsupported_media_type", f"the content type is not JSON: send `{types[0]}`"
        )
    name, _, charset = parameters.strip().lower().partition("=")
    if name.strip() == "charset" and charset.strip(' "') not in _ENCODINGS:
        raise HttpFault("unsupported_media_type", "the charset is not UTF-8: send that")
