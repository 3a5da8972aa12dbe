"""No document crashes the parsers: it is read, or it has located faults."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.errors import InvalidDocument
from pdp.policy.allowlist import parse_ip_allowlist
from pdp.policy.document import parse_policy
from pdp.policy.operators import OPERATORS
from pdp.policy.permissions import parse_permissions
from pdp.problems import Problems
from tests.examples import tries

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["*", "model:", "Allow", "09:00", "UTC", "2024-01-01", "1.2.3.4/8"])
    | st.text(max_size=5)
)
FIELDS = st.sampled_from(
    [
        *("version", "statements", "effect", "actions", "resources", "condition", "sid"),
        *("start", "end", "timezone", "days", "model", "enabled", "addresses", "models"),
        *OPERATORS,
    ]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


def faults_of(problems: Problems) -> list[str]:
    """Return the places of the faults."""
    if not len(problems):
        return []
    with pytest.raises(InvalidDocument) as caught:
        problems.raise_if_any()
    return [problem.location for problem in caught.value.problems]


@tries(100)
@given(JSON)
def test_any_json_is_read_or_has_located_faults(document: Any) -> None:
    for parse in (parse_policy, parse_permissions, parse_ip_allowlist):
        problems = Problems()
        found = parse(document, "here", problems)
        assert (found is None) is (len(problems) > 0)
        assert all(place.startswith("here") for place in faults_of(problems))


@tries(100)
@given(st.sampled_from(sorted(OPERATORS)), JSON)
def test_any_value_of_an_operator_is_read_or_has_faults_at_it(name: str, value: Any) -> None:
    problems = Problems()
    statement = {"effect": "Allow", "actions": ["*"], "resources": ["model:*"]}
    document = {
        "version": "2024-01-01",
        "statements": [{**statement, "condition": {name: value}}],
    }
    found = parse_policy(document, "policy", problems)
    assert (found is None) is (len(problems) > 0)
    at = f"policy.statements[0].condition.{name}"
    assert all(place.startswith(at) for place in faults_of(problems))
