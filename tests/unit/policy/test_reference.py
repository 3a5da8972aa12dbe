"""docs/policy.md says what the tables in code say."""

import re
from pathlib import Path

from pdp.actions import ACTIONS
from pdp.policy.operators import OPERATORS

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")


def test_the_reference_has_every_operator_as_the_code_has_it() -> None:
    section = PAGE.split("## Operators\n")[1].split("\n\n**")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(one.name, one.takes, one.holds) for one in OPERATORS.values()]


def test_the_reference_has_every_action() -> None:
    (line,) = re.findall(r"^- Actions: (.*)\.$", PAGE, re.MULTILINE)
    assert re.findall(r"`(.*?)`", line) == list(ACTIONS)
