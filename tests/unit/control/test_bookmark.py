"""Cursors are opaque, come back as they went out, and are of use to one list."""

import pytest

from pdp.control.bookmark import Number, Text, bookmark, place_of
from pdp.errors import InvalidDocument


def test_a_place_comes_back() -> None:
    for place in ((2**63 - 1, "key_1"), (-1, ""), (0, "Zoë \N{GRINNING FACE}")):
        cursor = bookmark("keys", *place)
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert place_of(cursor, "keys", Number, Text) == place


def test_a_cursor_of_another_list_is_told_so() -> None:
    cursor = bookmark("usage by model", "gpt-4o")
    for other in ("usage by key", "usage", "keys"):
        with pytest.raises(InvalidDocument, match="cursor: is another list's"):
            place_of(cursor, other, Text)


@pytest.mark.parametrize(
    "wrong", ["", "x", "W10", "WyJrZXlzIl0=", "WyJrZXlz Il0", "é", "bnVsbA", "WzEsMSwieCJd"]
)
def test_what_is_no_cursor_is_told(wrong: str) -> None:
    with pytest.raises(InvalidDocument, match="cursor: not one of ours"):
        place_of(wrong, "keys", Number, Text)
