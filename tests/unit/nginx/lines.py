"""Usage lines as NGINX writes them."""

from typing import Any

import msgspec

from adapters.http.reference import reference_of
from tests.unit.http.test_ask import asked, decision

FIELDS: dict[str, Any] = {
    "v": 1,
    "ref": reference_of(asked().request, decision(), 4096),
    "id": "5f0c7c4d1e9a4b0c8b6f0f1d2c3b4a59",
    "status": 200,
    "upstream_status": "200",
    "bytes": 100,
    "time": 0.245,
    "at": 1795435200.123,
    "completed": True,
    "sse": False,
    "last": True,
    "chunks": 0,
    "told": {"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": 4},
    "model": "gpt-4o-2024-08-06",
}


def line(**changes: Any) -> bytes:
    """Return a line; a change to None leaves the member out."""
    fields = {**FIELDS, **changes}
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
