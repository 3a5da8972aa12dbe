"""What Envoy is told of a request that may pass, encoded. Pure.

protos/adapters/envoy/v1 has the fields by their numbers.
"""

from collections.abc import Mapping
from typing import Final

from adapters.envoy.translate import FORCE_USAGE, STRIPPED
from pdp.serve.encoding import BYTE, Keys, bytes_of, sized

REFERENCE: Final = "ref"
"""The name of the reference in the dynamic metadata."""

_keys: Final = Keys()


def _option(name: str, value: str) -> str:
    """Return a sized HeaderValueOption: a header that takes the place of any before it."""
    key = _keys[name]
    length = len(key) + 2 + len(value)
    if length < 124 and value.isascii():
        # HeaderValueOption: header, of key and value, and append_action.
        return f"{BYTE[length + 4]}\x0a{BYTE[length]}{key}\x12{BYTE[len(value)]}{value}\x18\x02"
    header = key + "\x12" + sized(bytes_of(value))
    return sized("\x0a" + sized(header) + "\x18\x02")


def _removed(names: tuple[str, ...]) -> str:
    """Return OkHttpResponse.headers_to_remove."""
    return "".join("\x2a" + sized(name) for name in names)


_PLAIN: Final = _removed(STRIPPED)
_FORCED: Final = "\x12" + _option(FORCE_USAGE, "1") + _removed(STRIPPED[:-1])
"""OkHttpResponse.headers, without the removal, which would win over the addition."""


def allowed(response_headers: Mapping[str, str], reference: str, *, force_usage: bool) -> bytes:
    """Return the encoded CheckResponse of a request that may pass."""
    ok = _FORCED if force_usage else _PLAIN
    for name, value in response_headers.items():
        ok += "\x32" + _option(name, value)  # OkHttpResponse.response_headers_to_add.
    told = "\x1a" + sized(bytes_of(reference))  # Value.string_value.
    field = f"\x0a\x03{REFERENCE}\x12{sized(told)}"  # Struct.FieldsEntry: key, value.
    # CheckResponse: status, whose code is 0; ok_response; dynamic_metadata.
    response = f"\x0a\x00\x1a{sized(ok)}\x22" + sized("\x0a" + sized(field))
    return response.encode("latin-1")
