"""The caller token, as callers of the gRPC port write it."""

import pytest

from pdp.serve.rpc import presents

TOKEN = b"0123456789abcdef"


@pytest.mark.parametrize("text", ["Bearer 0123456789abcdef", "bearer 0123456789abcdef"])
def test_the_scheme_is_in_any_case(text: str) -> None:
    assert presents([("user-agent", "x"), ("authorization", text)], TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Bearer", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef"),
        *("Bearer 0123456789abcdeF", "Bearer  0123456789abcdef", "Bearer 0123456789abcdef "),
    ],
)
def test_anything_else_is_not_the_token(text: str) -> None:
    assert not presents([("authorization", text)], TOKEN)
    assert not presents([("x-authorization", "Bearer 0123456789abcdef")], TOKEN)
    assert not presents(None, TOKEN)
