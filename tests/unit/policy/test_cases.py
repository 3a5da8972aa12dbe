"""Runs the decision tables of tests/cases in process: the policies alone, and whole Checks."""

import pytest

from pdp.control.policies import simulated
from pdp.control.policy_table import Case
from pdp.control.simulation import Rules
from pdp.form import request_fault
from pdp.options import Options
from pdp.policy.chain import build_chain
from pdp.policy.node import compile_node
from pdp.problems import Problems
from tests.cases.table import attributes_of, chains_of, load_cases, name_of, spend_of
from tests.wire.harness import FixedPrices

CASES = load_cases()
WELL_FORMED = [case for case in CASES if not request_fault(case.asked.request)]


@pytest.mark.parametrize("case", CASES, ids=map(name_of, CASES))
def test_case(case: Case) -> None:
    problems = Problems()
    nodes = {record.id: compile_node(record, problems) for record in case.sample.records.values()}
    problems.raise_if_any()
    parents, granters = ([nodes[record.id] for record in chain] for chain in chains_of(case))
    spend = spend_of(case)
    evaluation = build_chain(parents, granters).evaluate(
        attributes_of(case), lambda key_id, period: spend.get((key_id, period), 0)
    )
    expect = case.expected
    # Here what a table leaves out is no question: no reason but `ok`, and no statement.
    found = (evaluation.allowed, evaluation.reason, evaluation.statement)
    wanted = (expect.decision == "allow", expect.reason or "ok", expect.statement or "")
    assert found == wanted, evaluation.message
    for part in expect.message:
        assert part in evaluation.message


@pytest.mark.parametrize("case", WELL_FORMED, ids=map(name_of, WELL_FORMED))
def test_case_as_a_whole_check(case: Case) -> None:
    rules = Rules(FixedPrices(), Options(unknown_price="allow"))
    answer = simulated(case.resolved, case.asked, rules)
    assert not case.expected.faults(answer), answer


def test_names_of_cases_are_unique() -> None:
    names = [name_of(case) for case in CASES]
    assert len(set(names)) == len(names)
