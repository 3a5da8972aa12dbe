"""What a text column holds. SQLite takes anything and checks no length; PostgreSQL does not."""

import re
from typing import Final

import sqlalchemy as sa

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
"""A null, and halves of surrogate pairs."""


def is_storable(text: str) -> bool:
    """Tell whether a text can be in the database; no row has one that cannot."""
    return "\0" not in text and (text.isascii() or _UNFIT.search(text) is None)


def fit(text: str, length: int | None = None) -> str:
    """Return what can be stored of a text, in `length` characters."""
    if not is_storable(text):
        text = _UNFIT.sub(_REPLACEMENT, text)
    return text if length is None or len(text) <= length else text[:length]


def lengths_of(table: sa.Table) -> dict[str, int | None]:
    """Return the text columns of a table, with the characters that they have room for."""
    return {
        column.name: column.type.length
        for column in table.columns
        if isinstance(column.type, sa.String)
    }
