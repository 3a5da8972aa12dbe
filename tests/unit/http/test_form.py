"""Forms: what they decide, and that whatever two readers could read differently is refused."""

import contextlib
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.ask import Ask, HttpOptions, HttpRequest, Refusal, ask_of
from adapters.http.body import BadBody
from adapters.http.form import MAX_PARTS, Form, parse_form
from pdp.model import Units

TYPE = "multipart/form-data; boundary=X-1"
MODEL = ('form-data; name="model"', b"whisper-1")
FILE = ('form-data; name="file"; filename="a.mp3"', b"\0\xff" * 500)


def form(*parts: tuple[str, bytes], more: str = "", end: bytes = b"--X-1--\r\n") -> bytes:
    """Return the parts; `more` are headers of each."""
    told = (
        b"--X-1\r\nContent-Disposition: %b\r\n%b\r\n%b\r\n" % (name.encode(), more.encode(), data)
        for name, data in parts
    )
    return b"".join(told) + end


def field(name: str, value: str) -> tuple[str, bytes]:
    return f'form-data; name="{name}"', value.encode()


def parsed(*parts: tuple[str, bytes]) -> Form:
    return parse_form(form(*parts), TYPE)


def test_fields_are_read_and_files_measured() -> None:
    found = parsed(MODEL, FILE, field("n", "3"), field("stream", "true"), field("prompt", "über"))
    assert (found.body.model, found.body.choices, found.body.stream) == ("whisper-1", 3, True)
    assert (found.files, found.file_bytes) == (1, 1000)
    assert found.text_bytes == len("whisper-1" + "3" + "true" + "über".encode().decode("latin-1"))


def parse_sent(data: dict[str, Any], files: Any) -> Form:
    """Parse what `requests` makes of fields and files."""
    sent = requests.Request("POST", "http://x", data=data, files=files).prepare()
    assert isinstance(sent.body, bytes)
    return parse_form(sent.body, sent.headers["content-type"])


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ({"model": "m"}, {"file": ("a.mp3", b"sound", "audio/mpeg")}),
        ({"model": "m", "include[]": ["a", "b"]}, {"file": ("ü.mp3", b"sound")}),
        ({"model": "m", "n": "1"}, [("image[]", ("a.png", b"12")), ("image[]", ("b.png", b"345"))]),
    ],
)
def test_what_a_client_sends_is_read(data: dict[str, Any], files: Any) -> None:
    found = parse_sent(data, files)
    assert (found.body.model, found.file_bytes) == ("m", 5)


def ask(body: bytes, path: str, content_type: str = TYPE, **options: Any) -> Ask | Refusal:
    headers = {"authorization": "Bearer k", "content-type": content_type}
    http = HttpRequest("POST", path, headers, body, "192.0.2.1")
    return ask_of(http, HttpOptions("envoy", **options))


@pytest.mark.parametrize(
    ("path", "action", "tokens", "units"),
    [
        ("/v1/audio/transcriptions", "audio:transcribe", 3 + 32, Units(seconds=1)),
        ("/v1/audio/translations", "audio:transcribe", 3 + 32, Units(seconds=1)),
        ("/v1/images/edits", "images:generate", 3 + 7_000, Units(images=2)),
        ("/v1/images/variations", "images:generate", 3 + 7_000, Units(images=2)),
    ],
)
def test_each_route_measures_what_it_is_paid_by(
    path: str, action: str, tokens: int, units: Units
) -> None:
    found = ask(form(MODEL, FILE, field("n", "2")), path)
    assert isinstance(found, Ask)
    request = found.request
    assert (request.action, request.model) == (action, "whisper-1")
    assert (request.prompt_tokens, request.units) == (tokens, units)
    assert request.most_output(4_096) == (13_200 if units.images else 2 * 4_096)


def test_a_strict_estimate_bounds_silence_too() -> None:
    found = ask(form(MODEL, FILE), "/v1/audio/transcriptions", strict_estimate=True)
    assert isinstance(found, Ask)
    assert found.request.units == Units(seconds=50)


def test_a_form_where_json_belongs_is_refused_and_the_other_way_round() -> None:
    for body, path, content_type in (
        (form(MODEL), "/v1/chat/completions", TYPE),
        (b'{"model": "whisper-1"}', "/v1/audio/transcriptions", "application/json"),
        (form(FILE), "/v1/audio/transcriptions", TYPE),
    ):
        found = ask(body, path, content_type)
        assert isinstance(found, Refusal)
        assert found.reason == "invalid_request"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=X-1; boundary=Y",
        "multipart/form-data; boundary=X-1; charset=utf-16",
        "multipart/form-data; boundary=X-1, multipart/form-data; boundary=Y",
        "multipart/form-data; boundary*=utf-8''X-1",
        'multipart/form-data; boundary="X-1',
        "multipart/form-data; boundary=X 1",
        "multipart/form-data; boundary=" + 71 * "X",
        "multipart/mixed; boundary=X-1",
        "application/x-www-form-urlencoded",
    ],
)
def test_only_a_plain_boundary_is_one(content_type: str) -> None:
    with pytest.raises(BadBody):
        parse_form(form(MODEL), content_type)


def test_what_has_the_type_of_a_file_is_one_without_a_name_too() -> None:
    sound = form(field("file", "s" * 1_000), more="Content-Type: application/octet-stream\r\n")
    found = ask(form(MODEL, end=b"") + sound, "/v1/audio/transcriptions")
    assert isinstance(found, Ask)
    assert found.request.units == Units(seconds=1)


@pytest.mark.parametrize("content_type", [TYPE, 'Multipart/Form-Data;boundary="X-1"'])
def test_a_boundary_may_be_quoted(content_type: str) -> None:
    assert parse_form(form(MODEL), content_type).body.model == "whisper-1"


NAMED = 'Content-Disposition: form-data; name="model"'
SECOND = field("model", "gpt-4o")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        form(MODEL, end=b""),
        form(MODEL, end=b"--X-1"),
        form(MODEL) + form(SECOND),
        b"\r\n" + form(MODEL),
        b"preamble\r\n" + form(MODEL),
        form(MODEL, end=b"--X-1--\r\nepilogue"),
        form(MODEL, end=b"--X-1 \r\n"),
        form(MODEL).replace(b"\r\n", b"\n"),
        form(MODEL, SECOND),
        form(MODEL, MODEL),
        form(FILE, FILE),
        form(MODEL, field("Model", "gpt-4o")),
        form(MODEL, field("model[]", "gpt-4o")),
        form(MODEL, field("n", "1"), field("n", "2")),
        form(field("n", "-1")),
        form(field("n", "1e3")),
        form(field("n", " 1")),
        form(field("n", "٣")),
        form(field("stream", "True")),
        form(field("stream", "1")),
        form(field("service_tier", "priority")),
        form(field("model", "gpt 4")),
        form(field("model", "m" * 1_000)),
        form(('form-data; name="model"', b"\xff")),
        form(('form-data; name="model"; filename="m"', b"whisper-1")),
        form(('form-data; name="model"; name="user"', b"whisper-1")),
        form(("form-data; name=model", b"whisper-1")),
        form(("form-data; name*=utf-8''model", b"whisper-1")),
        form(('form-data; name="mo\\del"', b"whisper-1")),
        form(('form-data; name="%6dodel"', b"whisper-1")),
        form(('form-data; filename="a"', b"whisper-1")),
        form(('attachment; name="model"', b"whisper-1")),
        form(MODEL, more="Content-Transfer-Encoding: base64\r\n"),
        form(MODEL, more="Content-Type: text/plain; charset=utf-16\r\n"),
        form(MODEL, more="Content-Type: application/json\r\n"),
        form(MODEL, more='Content-Disposition: form-data; name="user"\r\n'),
        form(MODEL, more="Content-Length: 3\r\n"),
        form(MODEL, more=" folded\r\n"),
        # A line feed alone ends a header for Go, PHP and Python's `email`.
        form(MODEL, ('form-data; name="file"; filename="a"\r\nContent-Type: a\n' + NAMED, b"")),
        form(MODEL, ('form-data; name="file"; filename="a"\r\nContent-Type: a\r' + NAMED, b"")),
        form(MODEL).replace(b"Disposition:", b"Disposition\n:"),
        form(MODEL).replace(b"Disposition:", b"Disposition\t:"),
        form(MODEL).replace(b"Content-D", b"\nContent-D"),
        form(*(field(f"f{number}", "") for number in range(MAX_PARTS + 1))),
        # A file that is fetched from elsewhere is as long as it likes.
        form(MODEL, FILE, field("url", "https://example.com/day.mp3")),
        form(MODEL, FILE, field("URL", "https://example.com/day.mp3")),
        form(MODEL, FILE, field("image_url[]", "https://example.com/a.png")),
        form(MODEL, FILE, field("_charset_", "utf-7")),
        form(MODEL, end=b"") + form(FILE, more="Content-Type: multipart/mixed; boundary=b\r\n"),
        # One that others take for a boundary: after a bare line feed, or with blanks behind.
        form(MODEL, ('form-data; name="file"; filename="a"', b"\n--X-1\nmodel: gpt-4o\n\n")),
        form(MODEL, ('form-data; name="file"; filename="a"', b"a--X-1--")),
    ],
)
def test_whatever_another_reader_could_read_otherwise_is_refused(data: bytes) -> None:
    with pytest.raises(BadBody) as caught:
        parse_form(data, TYPE)
    assert str(caught.value) == str(caught.value).strip()


PIECES = st.sampled_from(
    [
        *(b"--X-1", b"--X-1--", b"\r\n", b"\n", b"\r\n\r\n", b"whisper-1", b"\0", b"\xff", b" "),
        *(b"Content-Disposition: form-data; name=", b'"model"', b'"file"', b'; filename="a"', b":"),
        *(b"Content-Type: text/plain", b'"n"', b"3", b'"stream"', b"true", form(MODEL, FILE)),
    ]
)


@given(st.lists(PIECES, max_size=16).map(b"".join) | st.binary(max_size=80))
def test_any_bytes_are_a_form_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadBody):
        found = parse_form(data, TYPE)
        assert found.file_bytes + found.text_bytes <= len(data)


@given(st.text("mn-.", max_size=12), st.integers(1, 9), st.binary(max_size=200))
def test_what_is_written_is_read(prompt: str, count: int, file: bytes) -> None:
    data = {"model": "m-1", "n": str(count), "prompt": prompt}
    found = parse_sent(data, {"file": ("a", file)})
    assert (found.body.model, found.body.choices, found.file_bytes) == ("m-1", count, len(file))
