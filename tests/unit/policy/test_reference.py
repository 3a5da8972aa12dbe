"""The docs say what the tables in code say."""

import re
from pathlib import Path

from pdp.actions import ACTIONS
from pdp.policy.operators import OPERATORS
from pdp.policy.reference import reference_page

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_is_the_one_that_the_tables_make() -> None:
    written = (DOCS / "policy-reference.md").read_text("utf-8")
    assert written == reference_page(), "run `pdp policy reference > docs/policy-reference.md`"


def test_the_reference_has_every_operator_and_every_action() -> None:
    page = reference_page()
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == list(OPERATORS)
    assert re.findall(r"^\| `(\w+:\w+)` \|", page, re.MULTILINE) == list(ACTIONS)


def test_the_rules_have_every_action() -> None:
    page = (DOCS / "policy.md").read_text("utf-8")
    (line,) = re.findall(r"^- Actions: (.*)\.$", page, re.MULTILINE)
    assert re.findall(r"`(.*?)`", line) == list(ACTIONS)
