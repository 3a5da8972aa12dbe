"""Cursors: where a list goes on, opaque to who holds one, and of use to that list alone."""

import base64
from typing import Annotated, Any, Final

import msgspec

from pdp.errors import InvalidDocument, Problem

# What every database takes.
Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]

_NOT_OURS: Final = Problem("cursor", "not one of ours: use next_cursor as it was given")
_OTHERS: Final = Problem("cursor", "is another list's: use next_cursor of this one")


def bookmark(of: str, *place: int | str) -> str:
    """Return the cursor of a place in the list `of`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([of, *place])).decode().rstrip("=")


def place_of(cursor: str, of: str, *kinds: Any) -> tuple[Any, ...]:
    """Return the place that a cursor of the list `of` names, one value of each of `kinds`.

    Raises `InvalidDocument` for a cursor that is another list's, or none.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *place = msgspec.json.decode(data, type=list[int | str])
        if name != of and isinstance(name, str):
            raise InvalidDocument([_OTHERS])
        whole: Any = tuple[(str, *kinds)]  # type: ignore[valid-type]
        found: tuple[Any, ...] = msgspec.convert((name, *place), whole)
    except ValueError as error:
        raise InvalidDocument([_NOT_OURS]) from error
    return found[1:]
