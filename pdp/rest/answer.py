"""What an endpoint answers, and how that goes onto the wire."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.responses import Response

JSON: Final = "application/json"

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Answer(Struct, frozen=True):
    """A status with a JSON body; `headers` beyond those that every answer has."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = {}


class Stream(Struct, frozen=True):
    """Chunks that are sent as they come; the first is there before the status is."""

    chunks: AsyncIterator[bytes]
    media_type: str


def response_of(answer: Answer) -> Response:
    """Return an answer as a response."""
    return Response(
        _encode(answer.body),
        answer.status,
        headers=dict(answer.headers),
        media_type=JSON,
    )


def etag_of(version: int | str) -> str:
    """Return the entity tag of a version, whatever names it."""
    return f'"{version}"'
