"""Headers that make a request safe to repeat, or to send beside another editor's."""

import hashlib
import re
from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from pdp.control.idempotency import Once
from pdp.errors import InvalidDocument, PreconditionFailed, Problem

_VERSION: Final = re.compile("[0-9]{1,18}")
_TAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_TAGS: Final = re.compile(rf"{_TAG.pattern}([ \t]*,[ \t]*{_TAG.pattern})*")
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


def if_match_of(request: Request) -> Collection[str] | None:
    """Return the tags that `If-Match` names, without their quotes; None for any.

    Raises `PreconditionFailed` where all are weak, which ours are not, and
    `InvalidDocument` for what is no tag.
    """
    told = ", ".join(request.headers.getlist("If-Match")).strip()
    if told == "*" or "If-Match" not in request.headers:
        return None
    if not _TAGS.fullmatch(told):
        message = 'not an entity tag: send the ETag of a GET as it was, `"7"`, or `*`'
        raise InvalidDocument([Problem("If-Match", message)])
    strong = frozenset(match[2] for match in _TAG.finditer(told) if not match[1])
    if not strong:
        raise _never_ours()
    return strong


def versions_of(tags: Collection[str] | None) -> Collection[int] | None:
    """Return the versions of a key that tags name, None for any.

    Raises `PreconditionFailed` where no key ever had one of them.
    """
    if tags is None:
        return None
    versions = frozenset(int(tag) for tag in tags if _VERSION.fullmatch(tag))
    if not versions:
        raise _never_ours()
    return versions


def _never_ours() -> PreconditionFailed:
    return PreconditionFailed("`If-Match` is no ETag of this resource: send the one of a GET")


def _single(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidDocument([Problem(name, "is there twice: leave one of them out")])
    return values[0].strip() if values else None
