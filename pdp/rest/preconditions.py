"""Headers that make a request safe to repeat, or to send beside another editor's."""

import hashlib
import re
from typing import Final

from starlette.requests import Request

from pdp.control.idempotency import Once
from pdp.errors import InvalidDocument, PreconditionFailed, Problem

_VERSION: Final = re.compile("[0-9]{1,18}")
_TAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_NAME: Final = re.compile("[!-~]{1,255}")


def once_of(request: Request, content: bytes) -> Once | None:
    """Return what `Idempotency-Key` says, with what it says it of. Raises `InvalidDocument`."""
    name = _single(request, "Idempotency-Key")
    if name is None:
        return None
    if not _NAME.fullmatch(name):
        message = "not 1 to 255 printable ASCII characters without blanks: use a UUID"
        raise InvalidDocument([Problem("Idempotency-Key", message)])
    if "vsk_" in name:
        message = "looks like an API key, and this is written down: use a UUID"
        raise InvalidDocument([Problem("Idempotency-Key", message)])
    told = hashlib.blake2b(digest_size=32)
    for part in (request.method, request.scope["path"], content):
        data = part if isinstance(part, bytes) else part.encode()
        told.update(len(data).to_bytes(8))
        told.update(data)
    return Once(name, told.digest())


def if_match_of(request: Request) -> str | None:
    """Return the tag that `If-Match` names, without its quotes; None for any.

    Raises `PreconditionFailed` for a weak one, which ours are not, `InvalidDocument` for
    what is no tag, and for more than one.
    """
    tag = _single(request, "If-Match")
    if tag is None or tag == "*":
        return None
    match = _TAG.fullmatch(tag)
    if match is None:
        message = 'not one entity tag: send the ETag of a GET as it was, `"7"`, or `*`'
        raise InvalidDocument([Problem("If-Match", message)])
    if match[1]:
        raise _never_ours()
    return match[2]


def version_of(tag: str | None) -> int | None:
    """Return the version of a key that a tag names, None for any.

    Raises `PreconditionFailed` for a tag that no key ever had.
    """
    if tag is None:
        return None
    if not _VERSION.fullmatch(tag):
        raise _never_ours()
    return int(tag)


def _never_ours() -> PreconditionFailed:
    return PreconditionFailed("`If-Match` is no ETag of this resource: send the one of a GET")


def _single(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidDocument([Problem(name, "is there twice: leave one of them out")])
    return values[0].strip() if values else None
