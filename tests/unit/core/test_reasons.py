"""The table of reasons is the same in the code and in the docs."""

import re
from pathlib import Path

from pdp.reasons import REASONS

_DOC = Path(__file__).parents[3] / "docs" / "errors.md"


def test_the_docs_have_every_reason_with_its_status() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) \|", _DOC.read_text().partition("\n## ")[0], re.MULTILINE
    )
    assert {code: int(status) for code, status in rows} == {
        reason.code: reason.http_status for reason in REASONS.values()
    }
