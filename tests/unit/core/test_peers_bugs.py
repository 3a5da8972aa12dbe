"""docs/peers-bugs.md names tests that there are."""

import re
from pathlib import Path

_TESTS = Path(__file__).parents[2]
_PAGE = _TESTS.parent / "docs" / "peers-bugs.md"


def test_every_bug_that_the_page_tells_has_tests_and_they_are_there() -> None:
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row.rsplit(" | ", 1)[1])
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (_TESTS / file).read_text(), f"{file}::{test}"
