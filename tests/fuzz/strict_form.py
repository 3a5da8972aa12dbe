"""A form as the standard library's parser of mail reads it: the oracle of forms."""

import re
from email import policy
from email.message import Message
from email.parser import BytesParser
from functools import lru_cache
from typing import Any

from msgspec import Struct

from tests.fuzz.bodies import DECISIVE
from tests.fuzz.oracle import Unclear


class Form(Struct, frozen=True):
    """The decisive fields, how many files there are, and the bytes in them and beside them."""

    fields: dict[str, Any]
    files: int
    file_bytes: int
    text_bytes: int


@lru_cache(1)
def strict_form(data: bytes, content_type: str) -> Form:
    """Return what a form says; raises `Unclear` where the parser notes a defect, or may err."""
    head = b"Content-Type: %b\r\n\r\n" % content_type.encode("ascii", "replace")
    message = BytesParser(policy=policy.compat32).parsebytes(head + data)
    if message.get_content_type() != "multipart/form-data" or not message.is_multipart():
        raise Unclear("no form")
    if message.defects or message.preamble or message.epilogue:
        raise Unclear(f"not framed alone: {message.defects}")
    fields: dict[str, Any] = {}
    seen: set[str] = set()
    sizes = [0, 0]
    files = 0
    for part in message.get_payload():
        assert isinstance(part, Message)
        name, is_file, value = _part(part)
        folded = name.casefold().removesuffix("[]")
        if folded in DECISIVE:
            if folded in seen or folded != name or is_file:
                raise Unclear(f"`{name}` is there twice, or not exactly")
            fields[name] = _read(name, value.decode("utf-8", "surrogateescape"))
        seen.add(folded)
        files += is_file
        sizes[is_file] += len(value)
    return Form(fields, files, sizes[1], sizes[0])


def _part(part: Message) -> tuple[str, bool, bytes]:
    """Return a part's name, whether it is a file, and its bytes."""
    names = [name.lower() for name in part]
    if part.defects or len(set(names)) != len(names) or "content-transfer-encoding" in names:
        raise Unclear(f"a part's headers: {names}, {part.defects}")
    name = part.get_param("name", None, "content-disposition")
    if part.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise Unclear("a part without a name")
    value = part.get_payload(decode=True)
    if not isinstance(value, bytes):
        raise Unclear("a part with parts")
    has_name = part.get_param("filename", None, "content-disposition") is not None
    return name, has_name or not _PLAIN.fullmatch(part.get("content-type", "text/plain")), value


_PLAIN = re.compile("text/plain(; ?charset=utf-8)?", re.IGNORECASE)
"""What has another type is a file to some: it is measured as one."""


def _read(name: str, text: str) -> Any:
    if name == "n" and re.fullmatch("[0-9]+", text, re.ASCII):
        return int(text)
    return text
