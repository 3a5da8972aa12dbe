"""JSON bodies: what is said twice is refused, wherever it is."""

import pytest

from pdp.control.body import decode_body
from pdp.errors import InvalidDocument

TWICE = "is there twice: leave one of them out"


@pytest.mark.parametrize(
    ("data", "locations"),
    [
        (b'{"name": "a", "name": "a"}', ["name"]),
        (b'{"policy": {"version": "2024-01-01"}, "policy": null}', ["policy"]),
        (b'{"p": {"s": [{}, {"effect": "Deny", "effect": "Allow"}]}}', ["p.s[1].effect"]),
        (b'{"\\u006eame": "a", "name": "b"}', ["name"]),
        (b'{"a": 1, "a": {"b": 1, "b": 2}, "a": 3}', ["a", "a.b", "a"]),
        (b'{"x\\ny": 1, "x\\ny": 2}', ["x?y"]),
    ],
)
def test_a_field_that_is_there_twice_is_refused_and_located(
    data: bytes, locations: list[str]
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        decode_body(data, "-")
    assert [(each.location, each.message) for each in caught.value.problems] == [
        (location, TWICE) for location in locations
    ]


def test_the_same_field_in_different_objects_is_no_repetition() -> None:
    body = {"a": {"a": 1, "b": [{"a": 2}, {"a": 3}]}, "b": 10**30, "c": 1.5}
    data = b'{"a": {"a": 1, "b": [{"a": 2}, {"a": 3}]}, "b": 1%s, "c": 1.5}' % (b"0" * 30)
    assert decode_body(data, "-") == body


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff", b"\xef\xbb\xbf{}", b"NaN", b'"\\ud800"', b"[" * 100_000, b'{"a":' * 5000],
)
def test_what_is_not_json_is_refused_under_its_name(data: bytes) -> None:
    with pytest.raises(InvalidDocument, match=r"key\.json: not JSON: "):
        decode_body(data, "key.json")
