"""What may be read out of a body, and what two parsers could read differently."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.body import _DECISIVE, _HARMLESS, MAX_CHOICES, BadBody, Body, _loosely
from adapters.http.body import parse_body as parse_with

BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def parse_body(data: bytes) -> Body:
    return parse_with(data, BOUNDS)


def body(**fields: object) -> bytes:
    return json.dumps({"model": "gpt-4o", **fields}).encode()


def test_the_decisive_fields_are_read() -> None:
    assert parse_body(body()) == Body("gpt-4o", False, False, None, 1)
    full = body(
        stream=True,
        stream_options={"include_usage": True},
        n=3,
        max_tokens=10,
        max_output_tokens=20,
    )
    assert parse_body(full) == Body("gpt-4o", True, True, 20, 3)


def test_null_is_absent() -> None:
    nulls = dict.fromkeys(("stream", "n", "max_tokens", "stream_options"))
    assert parse_body(body(**nulls)) == Body("gpt-4o", False, False, None, 1)
    assert parse_body(b'{"model": null}').model == ""


@pytest.mark.parametrize(
    "options",
    [
        '{"include_usage": true, "include_usage": false}',
        '{"include_usage": false, "include_usage": true}',
        '{"include_usage": true, "Include_Usage": false}',
        '{"Include_Usage": true}',
        '[["include_usage", true]]',
    ],
)
def test_a_stream_that_asks_for_its_usage_unclearly_does_not_ask(options: str) -> None:
    text = f'{{"model": "a", "stream": true, "stream_options": {options}}}'
    assert not parse_body(text.encode()).include_usage


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, {"include_usage": 1}, "yes", []])
def test_only_true_asks_for_usage(options: object) -> None:
    assert not parse_body(body(stream_options=options)).include_usage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"model"',
        b"{",
        b'{"model": "a"} {}',
        b'{"model": "a",}',
        b"{'model': 'a'}",
        b'{"model": NaN}',
        b'\xef\xbb\xbf{"model": "a"}',
        '{"model": "a"}'.encode("utf-16"),
        b'{"model": "\xff"}',
        b'{"model": "a", "messages": "\xff"}',
        b"\x1f\x8b\x08\x00",
        b"model=gpt-4o",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_001,
    ],
)
def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadBody, match="the body"):
        parse_body(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"model": "cheap", "model": "dear"}',
        b'{"model":"cheap","model":"dear"}',
        b'{"model": "cheap", "mod\\u0065l": "dear"}',
        b'{"mod\\u0065l":"cheap","\\u006dodel":"dear"}',
        b'{"model":"a","stream":false,"stream":true}',
        b'{"model":"a","max_tokens":1,"max_tokens":100000}',
        b'{"model":"a","n":1, "n":2}',
        b'{"model":"a","stream_options":{},"stream_options":{"include_usage":true}}',
    ],
)
def test_a_decisive_field_twice_is_refused(data: bytes) -> None:
    with pytest.raises(BadBody, match="more than once") as caught:
        parse_body(data)
    assert caught.value.param


@pytest.mark.parametrize("name", ["model\0", "MODEL\0x", "\0model"])
def test_a_name_counts_up_to_its_first_null(name: str) -> None:
    data = body(**{name: "x"})
    if name.startswith("\0"):
        assert parse_body(data).model == "gpt-4o"
    else:
        with pytest.raises(BadBody, match="spelt almost like `model`"):
            parse_body(data)


@pytest.mark.parametrize("name", ["Model", "MODEL", "mode\u2113", "ſtream", "Max_Tokens", "N"])
def test_a_field_spelt_almost_like_a_decisive_one_is_refused(name: str) -> None:
    data = body(**{name: "x"})
    if name.casefold() in ("model", "stream", "max_tokens", "n"):
        with pytest.raises(BadBody, match="spelt almost like"):
            parse_body(data)
    else:
        assert parse_body(data).model == "gpt-4o"


@pytest.mark.parametrize("number", ["1e999", "-1e400"])
def test_a_number_that_no_number_can_hold_is_refused(number: str) -> None:
    with pytest.raises(BadBody, match="cannot be read"):
        parse_body(f'{{"model":"m","n":{number}}}'.encode())


def test_other_fields_may_come_twice_and_deeper_ones_too() -> None:
    assert (
        parse_body(b'{"model":"a","user":"x","user":"y","messages":[{"n":1,"n":2}]}').model == "a"
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": ["gpt-4o"]}, "model"),
        ({"model": ""}, "model"),
        ({"model": "gpt 4o"}, "model"),
        ({"model": "gpt-4o\n"}, "model"),
        ({"model": "gpt-4о"}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"n": 0}, "n"),
        ({"n": -1}, "n"),
        ({"n": 1.0}, "n"),
        ({"n": True}, "n"),
        ({"n": MAX_CHOICES + 1}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": False}, "max_tokens"),
        ({"max_completion_tokens": 1e3}, "max_completion_tokens"),
        ({"max_output_tokens": [1]}, "max_output_tokens"),
    ],
)
def test_a_field_of_another_type_is_refused(fields: dict[str, object], param: str) -> None:
    with pytest.raises(BadBody) as caught:
        parse_body(body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    "value",
    ["[" + "{}," * 2000 + "1]", '{"a":' * 900 + "1" + "}" * 900, "1" * 5000, "0." + "1" * 5000],
)
def test_a_decisive_field_is_not_made_of_megabytes(value: str) -> None:
    for name in ("model", "stream", "n", "max_tokens", "service_tier", "stream_options", "input"):
        with pytest.raises(BadBody, match=f"`{name}` is longer than 4,096 bytes") as caught:
            parse_with(f'{{"{name}": {value}}}'.encode(), BOUNDS, spoken="input")
        assert caught.value.param == name


def test_a_long_text_is_read() -> None:
    assert (
        parse_with(body(input="x" * 10_000), spoken="input", output_bounds=()).characters == 10_000
    )


def test_eight_megabytes_are_read() -> None:
    assert parse_body(body(messages=[{"content": "é" * 4_000_000}])).model == "gpt-4o"


_NAMES = st.sampled_from(["model", "stream", "n", "max_tokens", "user", "Model", "temperature", ""])
_SPACE = st.text(" \t\r\n", max_size=3)


@st.composite
def _documents(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A JSON object with odd spacing, escapes and repeats, and its names in order."""
    values = {"model": '"a"', "stream": "true", "n": "1", "max_tokens": "5"}
    names = draw(st.lists(_NAMES, max_size=6))
    members = []
    for name in names:
        spelt = json.dumps(name)
        if name and draw(st.booleans()):
            spelt = f'"\\u{ord(name[0]):04x}{name[1:]}"'
        value = values.get(name, draw(st.sampled_from(['"x"', "[1, 2]", '{"model": 1}', "null"])))
        spaces = [draw(_SPACE) for _ in range(4)]
        members.append(f"{spaces[0]}{spelt}{spaces[1]}:{spaces[2]}{value}{spaces[3]}")
    return draw(_SPACE) + "{" + (",".join(members) or draw(_SPACE)) + "}" + draw(_SPACE), names


@given(_documents())
def test_a_body_is_taken_exactly_when_no_decisive_name_is_ambiguous(
    document: tuple[str, list[str]],
) -> None:
    text, names = document
    decisive = [name for name in names if name in ("model", "stream", "n", "max_tokens")]
    ambiguous = len(decisive) != len(set(decisive)) or "Model" in names
    try:
        parse_body(text.encode())
    except BadBody:
        assert ambiguous, text
    else:
        assert not ambiguous, text


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_otherwise(data: bytes) -> None:
    with contextlib.suppress(BadBody):
        parse_body(data)


def test_only_the_bounds_of_the_route_count() -> None:
    data = body(max_tokens=10, max_output_tokens=-1)
    assert parse_with(data, ("max_tokens",)).max_output == 10
    assert parse_with(data, ()).max_output is None


def test_what_runs_in_the_background_is_refused() -> None:
    assert parse_body(body(background=False)).model == "gpt-4o"
    with pytest.raises(BadBody, match="background"):
        parse_body(body(background=True))


def test_names_that_are_not_looked_at_twice_are_not_spelt_like_a_decisive_one() -> None:
    assert not {_loosely(name) for name in _HARMLESS} & _DECISIVE
