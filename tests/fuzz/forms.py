"""Forms (multipart/form-data) as the official clients send them, then bent where readers differ."""

from collections.abc import Callable
from random import Random
from typing import Final

from msgspec import Struct

from tests.fuzz.bodies import DECISIVE, MODELS, ODD_TEXTS
from tests.fuzz.mutate import SPELLINGS, mutate_bytes, random_bytes

BOUNDARY: Final = "0f9a-X_1"


class Part(Struct):
    """A part as it is written. `name` None: its disposition says none."""

    name: str | None
    value: bytes
    filename: str | None = None
    kind: str = ""
    more: tuple[str, ...] = ()
    disposition: str = 'form-data; name="{}"'


class Sent(Struct):
    """A form as it is written."""

    parts: list[Part]
    boundary: str = BOUNDARY
    content_type: str = "multipart/form-data; boundary=" + BOUNDARY
    line: str = "\r\n"
    before: bytes = b""
    after: bytes = b"\r\n"
    closed: bool = True


def make_form(rng: Random) -> tuple[str, str, bytes]:
    """Return (path, content type, body)."""
    path = rng.choice(_PATHS)
    sent = Sent(_sound(rng) if "audio" in path else _pictures(rng))
    kind = rng.random()
    if 0.4 < kind < 0.85:
        for _ in range(rng.choice((1, 1, 2, 3))):
            rng.choice(_CHANGES)(rng, sent)
    data = write(sent)
    if kind > 0.85:
        data = random_bytes(rng, 300) if kind > 0.99 else mutate_bytes(rng, data, TOKENS)
    return path, sent.content_type, data


def write(sent: Sent) -> bytes:
    """Return a form's bytes."""
    line = sent.line.encode()
    out = [sent.before]
    for part in sent.parts:
        head = ["--" + sent.boundary]
        if part.name is not None:
            file = "" if part.filename is None else f'; filename="{part.filename}"'
            head.append("Content-Disposition: " + part.disposition.format(part.name) + file)
        head += [f"Content-Type: {part.kind}"] if part.kind else []
        head += part.more
        out += [sent.line.join(head).encode(errors="replace"), 2 * line, part.value, line]
    end = f"--{sent.boundary}--".encode(errors="replace")
    return b"".join(out) + (end + sent.after if sent.closed else b"")


_PATHS: Final = (
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/images/edits",
    "/v1/images/variations",
)


def _file(rng: Random, name: str, filename: str, kind: str) -> Part:
    data = rng.randbytes(rng.choice((0, 1, 40, 300, 1_001)))
    return Part(name, data, filename, kind)


def _field(name: str, value: str) -> Part:
    return Part(name, value.encode())


def _sound(rng: Random) -> list[Part]:
    parts = [_file(rng, "file", "a.mp3", "audio/mpeg"), _field("model", rng.choice(_LISTENERS))]
    if rng.random() < 0.5:
        parts.append(_field("response_format", "json"))
    if rng.random() < 0.3:
        parts += [_field("include[]", "logprobs"), _field("timestamp_granularities[]", "word")]
    if rng.random() < 0.3:
        parts += [_field("stream", rng.choice(("true", "false"))), _field("language", "de")]
    return parts


def _pictures(rng: Random) -> list[Part]:
    parts = [_field("model", rng.choice(_PAINTERS)), _field("prompt", "a cat, über")]
    names = ("image",) if rng.random() < 0.6 else ("image[]", "image[]")
    parts += [_file(rng, name, "ü.png", "image/png") for name in names]
    if rng.random() < 0.5:
        parts.append(_field("n", rng.choice(("1", "2", "3"))))
    if rng.random() < 0.2:
        parts.append(_file(rng, "mask", "m.png", "image/png"))
    return parts


_LISTENERS: Final = ("whisper-1", "gpt-4o", "gpt-4o-mini", "gpt-4o-transcribe")
_PAINTERS: Final = ("gpt-image-1", "gpt-4o", "gpt-4o-mini")


# -- Changes


def _value(rng: Random) -> bytes:
    return rng.choice((*MODELS, *ODD_TEXTS, *_VALUES)).encode(errors="replace")


_VALUES: Final = ("0", "-1", "1.0", "1024", "1025", "٣", "9" * 400, "true", "True", "on", "x" * 600)


def _place(rng: Random, sent: Sent, part: Part) -> None:
    sent.parts.insert(rng.randrange(len(sent.parts) + 1), part)


def _some(rng: Random, sent: Sent) -> Part:
    if not sent.parts:
        sent.parts.append(_field("model", "gpt-4o"))
    return rng.choice(sent.parts)


def _set(rng: Random, sent: Sent) -> None:
    _place(rng, sent, Part(rng.choice(DECISIVE), _value(rng)))


def _twice(rng: Random, sent: Sent) -> None:
    one = _some(rng, sent)
    value = one.value if rng.random() < 0.2 else _value(rng)
    _place(rng, sent, Part(one.name, value, one.filename, one.kind))


def _lookalike(rng: Random, sent: Sent) -> None:
    spelt = rng.choice((*SPELLINGS, *_NAMES))(rng.choice(DECISIVE[:4]))
    _place(rng, sent, Part(spelt, _value(rng)))


_NAMES: Final[tuple[Callable[[str], str], ...]] = (
    lambda name: name + "[]",
    lambda name: name + "[0]",
    lambda name: f"[{name}]",
    lambda name: "%6d" + name[1:],
    lambda name: f'{name}"; x="',
    lambda name: f'x"; name="{name}',
    lambda name: "\\" + name,
    lambda name: name + "\r\nx: y",
)


def _odd_field(rng: Random, sent: Sent) -> None:
    names = ("_charset_", "file_url", "image_urls[]", "URL", "", "a" * 65, "é", "file")
    _place(rng, sent, Part(rng.choice(names), _value(rng)))


def _drop(rng: Random, sent: Sent) -> None:
    sent.parts.remove(_some(rng, sent))


def _shuffle(rng: Random, sent: Sent) -> None:
    rng.shuffle(sent.parts)


def _replace(rng: Random, sent: Sent) -> None:
    _some(rng, sent).value = _value(rng)


def _disposition(rng: Random, sent: Sent) -> None:
    _some(rng, sent).disposition = rng.choice(
        (
            "form-data; name={}",
            "form-data;name={}",
            "form-data; name='{}'",
            'Form-Data; Name="{}"',
            'form-data; name="x"; name="{}"',
            'form-data; filename="a"; name="{}"',
            "form-data; name*=utf-8''{}",
            "form-data; name=\"{}\"; filename*=utf-8''a.mp3",
            'form-data; name="{}"; filename=a',
            'form-data; name="{}"; filename="a\\"; name=\\"model"',
            'form-data; name="{}"; filename="',
            'form-data;\r\n name="{}"',
            'attachment; name="{}"',
            'file; name="{}"',
        )
    )


def _header(rng: Random, sent: Sent) -> None:
    _some(rng, sent).more += (rng.choice(_HEADERS),)


_HEADERS: Final = (
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: 8bit",
    'Content-Disposition: form-data; name="model"',
    "content-type: text/plain",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Type: text/plain; charset=utf-16",
    "Content-Type: multipart/mixed; boundary=" + BOUNDARY,
    "Content-Length: 1",
    "Content-Length: 99999",
    "X-Y: " + "z" * 2_000,
    "X-Y: z\r\n folded",
    " folded",
    "no colon",
    "X:\x00",
    "X-1: 1\r\nX-2: 2\r\nX-3: 3\r\nX-4: 4",
)


def _as_file(rng: Random, sent: Sent) -> None:
    one = _some(rng, sent)
    one.filename = None if one.filename else rng.choice(("a", "", 'a"; name="model', "é" * 9))


def _kind(rng: Random, sent: Sent) -> None:
    kinds = ("", "text/plain", "text/plain;charset=utf-8", "text/html", "application/json", "x")
    _some(rng, sent).kind = rng.choice(kinds)


def _inside(rng: Random, sent: Sent) -> None:
    """Put a part, or the end of all, into the value of another."""
    inner = rng.choice(
        (
            '\r\n--{}\r\nContent-Disposition: form-data; name="model"\r\n\r\no1',
            '\n--{}\nContent-Disposition: form-data; name="model"\n\no1',
            "\r\n--{}--\r\n",
            "\r--{}\r",
            "\r\n--{}x",
            "\r\n--{} \t\r\n",
            "--{}",
        )
    )
    _some(rng, sent).value += inner.format(sent.boundary).encode(errors="replace")


def _crowd(rng: Random, sent: Sent) -> None:
    sent.parts += [_field(f"x{n}", "") for n in range(rng.choice((3, 61, 65)))]


def _frame(rng: Random, sent: Sent) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        sent.before = rng.choice((b"\r\n", b"preamble\r\n", b"--\r\n", b"\n"))
    elif kind == 1:
        sent.after = rng.choice((b"", b"\n", b"\r\n\r\n", b"--", b"epilogue", b" \r\n"))
    elif kind == 2:
        sent.closed = False
    else:
        sent.line = rng.choice(("\n", "\r", "\r\n "))


def _boundary(rng: Random, sent: Sent) -> None:
    sent.boundary = rng.choice(("x", "X" * 70, "a'b+c", "--", BOUNDARY.lower(), BOUNDARY + "-"))
    sent.content_type = rng.choice(_TYPES).format(sent.boundary)


_TYPES: Final = (
    *("multipart/form-data; boundary={}", 'multipart/form-data; boundary="{}"') * 4,
    "Multipart/Form-Data;Boundary={}",
    "multipart/form-data; boundary={0}; boundary=y{0}",
    "multipart/form-data; boundary=y{0}; boundary={0}",
    "multipart/form-data; charset=utf-16; boundary={}",
    'multipart/form-data; boundary="{}',
    "multipart/form-data; boundary={} ; x",
    "multipart/form-data; boundary*=utf-8''{}",
    "multipart/form-data",
    "multipart/mixed; boundary={}",
    "multipart/form-data, multipart/form-data; boundary={}",
    "application/x-www-form-urlencoded",
    "application/json",
)

_CHANGES: Final[tuple[Callable[[Random, Sent], None], ...]] = (
    *(_set, _twice, _lookalike) * 4,
    *(_header, _disposition, _inside, _replace) * 3,
    *(_as_file, _kind, _frame, _boundary) * 2,
    *(_odd_field, _drop, _shuffle, _crowd),
)

TOKENS: Final = (
    *(b"\r\n", b"\n", b"\r", b"--", b"--" + BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode()),
    *(b"--" + BOUNDARY.encode() + b"--\r\n", b'name="model"', b"; ", b'"', b"\\", b"\0", b": "),
    *(b"Content-Disposition: form-data; ", b"filename=", b"\xff\xfe", b"\xc0\xaf", b"=?utf-8?q?"),
)
