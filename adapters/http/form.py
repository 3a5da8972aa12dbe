"""What a request's form decides (multipart/form-data): model, stream, count, files. Pure.

Files are not looked at, only measured. What two parsers could read differently is refused:
a boundary that is also in a file, a name twice, headers of a part that another reads in
another way.
"""

import re
from typing import Any, Final

from msgspec import Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from adapters.http.body import BadBody, Body, body_of, is_decisive

MAX_PARTS: Final = 64
MAX_VALUE: Final = 512
"""Bytes of a decisive field."""

_TYPE: Final = re.compile(
    r"""multipart/form-data[ \t]*;[ \t]*boundary=("?)([A-Za-z0-9'+_.-]{1,70})\1""", re.IGNORECASE
)
_DISPOSITION: Final = re.compile(
    r'form-data; name="([A-Za-z0-9_.-]{1,64}(?:\[\])?)"'
    r"""(; filename="[^"\r\n]*"|; filename\*=(?:utf-8|UTF-8)''[A-Za-z0-9%._~-]*)?"""
)
_PLAIN: Final = re.compile(r"text/plain(?:; ?charset=utf-8)?", re.IGNORECASE)
_HEADERS: Final = frozenset({"Content-Disposition", "Content-Type", "Content-Length"})
_HEAD: Final = re.compile(rb"(?:\r\n[A-Za-z-]+:[^\x00-\x1f\x7f]*)+\r\n\r\n")
"""What stands between a boundary and a value. For many readers a mere line feed ends a header,
and another one could begin behind it."""
_ELSEWHERE: Final = re.compile(r"(?:.*[_.-])?urls?(?:\[\])?", re.IGNORECASE)
"""Names of fields that point to a file: how much there is of it, nobody here sees."""
_WHOLE: Final = re.compile("[0-9]{1,9}", re.ASCII)
_FLAGS: Final = {"true": True, "false": False}

_MALFORMED: Final = "the body is not a form that every reader reads alike: "


class Form(Struct, frozen=True, gc=False):
    """The decisive fields, how many files there are, and the bytes in them and beside them."""

    body: Body
    files: int
    file_bytes: int
    text_bytes: int


def parse_form(data: bytes, content_type: str) -> Form:
    """Return what a form decides; raises `BadBody`."""
    found = _TYPE.fullmatch(content_type.strip(" \t"))
    if found is None:
        raise BadBody(
            "the body is no form: send `content-type: multipart/form-data; boundary=...`, "
            "with a plain boundary and nothing else"
        )
    boundary = b"--" + found[2].encode()
    reader = _Reader()
    parts = 0
    try:
        parser = PushMultipartParser(
            boundary[2:],
            max_header_size=1024,
            max_header_count=4,
            max_segment_count=MAX_PARTS,
            strict=True,
        )
        for event in parser.parse(data):
            if isinstance(event, MultipartSegment):
                parts += 1
                reader.begin(event)
            elif event is not None:
                reader.take(event)
            else:
                reader.end()
        parser.close()
    except MultipartError as error:
        raise BadBody(
            f"the body is no form, or has more than {MAX_PARTS} parts: {error}"
        ) from error
    _check_frame(data, boundary, parts)
    return reader.form()


def _check_frame(data: bytes, boundary: bytes, parts: int) -> None:
    """Refuse what this reader does not look at, and others may.

    That is a boundary where it saw none, lines in a head that end otherwise, and anything
    before and after the parts.
    """
    found, at = 0, data.find(boundary)
    while at >= 0:
        at += len(boundary)
        found += 1
        if found <= parts and not _HEAD.match(data, at):
            raise BadBody(_MALFORMED + "a part's headers are not plain lines")
        at = data.find(boundary, at)
    if found != parts + 1:
        raise BadBody(_MALFORMED + "its boundary is also in a part")
    if not data.startswith(boundary + b"\r\n") or not data.endswith(
        (boundary + b"--", boundary + b"--\r\n")
    ):
        raise BadBody(_MALFORMED + "something is before or after its parts")


class _Reader:
    """Takes the parts one after another."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._values: dict[str, Any] = {}
        self._value: bytearray | None = None
        self._name = ""
        self._is_file = False
        self._files = 0
        self._bytes = [0, 0]

    def begin(self, part: MultipartSegment) -> None:
        """Look at the headers of the next part."""
        headers = part.headerlist
        names = [name for name, _ in headers]
        if len(set(names)) != len(names) or not _HEADERS.issuperset(names):
            raise BadBody(_MALFORMED + "a part has other headers than its disposition and type")
        found = _DISPOSITION.fullmatch(part.header("Content-Disposition") or "")
        if found is None:
            raise BadBody(
                _MALFORMED + 'a part is not named like `form-data; name="model"`, in letters, '
                "digits, `_`, `-` and `.`"
            )
        plain = "Content-Type" not in names or _PLAIN.fullmatch(part["Content-Type"])
        # Some take a part for a file by its type, without a file's name.
        self._name, self._is_file = found[1], found[2] is not None or not plain
        _refuse_unseen(self._name, part["Content-Type"] if "Content-Type" in names else "")
        decisive = is_decisive(self._name)
        if self._name in self._names and (decisive or not self._name.endswith("[]")):
            raise BadBody(f"the body has `{self._name}` more than once: send it once", self._name)
        self._names.add(self._name)
        self._files += self._is_file
        self._value = bytearray() if decisive else None
        if decisive and self._is_file:
            raise BadBody(f"`{self._name}` is not a plain text field", self._name)

    def take(self, chunk: bytes) -> None:
        """Measure a piece of the part."""
        self._bytes[self._is_file] += len(chunk)
        if self._value is not None:
            self._value += chunk
            if len(self._value) > MAX_VALUE:
                raise BadBody(f"`{self._name}` is longer than {MAX_VALUE} bytes", self._name)

    def end(self) -> None:
        """Note what the part says."""
        if self._value is not None:
            try:
                text = self._value.decode()
            except UnicodeDecodeError as error:
                raise BadBody(f"`{self._name}` is not UTF-8", self._name) from error
            self._values[self._name] = _read(self._name, text)

    def form(self) -> Form:
        """Return what all parts say."""
        text_bytes, file_bytes = self._bytes
        return Form(body_of(self._values), self._files, file_bytes, text_bytes)


def _refuse_unseen(name: str, content_type: str) -> None:
    """Refuse a part that is more than it shows: files elsewhere, files in it, other letters."""
    if _ELSEWHERE.fullmatch(name):
        raise BadBody(f"`{name}` is not supported here: send the file itself", name)
    if name.lower() == "_charset_":
        raise BadBody("`_charset_` is not supported here: the form is read as UTF-8", name)
    if content_type.lower().lstrip().startswith("multipart/"):
        raise BadBody(_MALFORMED + f"`{name}` has parts of its own", name)


def _read(name: str, text: str) -> Any:
    """Return a field's value as JSON would have it; one that is no such value stays a text."""
    if name == "n" and _WHOLE.fullmatch(text):
        return int(text)
    if name in ("stream", "background"):
        return _FLAGS.get(text, text)
    return text
