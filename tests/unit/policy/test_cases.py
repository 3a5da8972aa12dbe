"""Runs the decision tables of tests/cases in process."""

import pytest

from pdp.policy.chain import build_chain
from pdp.policy.node import compile_node
from pdp.problems import Problems
from tests.cases.table import Case, load_cases

CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Case) -> None:
    problems = Problems()
    nodes = {record.id: compile_node(record, problems) for record in case.records}
    problems.raise_if_any()
    chain = build_chain(
        [nodes[record.id] for record in case.parents()],
        [nodes[record.id] for record in case.granters()],
    )
    evaluation = chain.evaluate(
        case.attributes, lambda key_id, period: case.spend.get((key_id, period), 0)
    )
    expect = case.expect
    found = (evaluation.allowed, evaluation.reason, evaluation.statement)
    assert found == (expect.allowed, expect.reason, expect.statement), evaluation.message
    for part in expect.message:
        assert part in evaluation.message


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
