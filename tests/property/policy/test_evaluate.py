"""The compiled evaluator against the reference, and laws that hold for any policy."""

from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from pdp.policy.chain import Attributes, Evaluation
from tests.examples import tries
from tests.property.policy import reference
from tests.property.policy.documents import (
    Tree,
    conditional_trees,
    requests,
    spends,
    statements,
    trees,
)
from tests.property.policy.reference import Spend


def decide(tree: Tree, request: Attributes, spend: Spend) -> Evaluation:
    return tree.compile().evaluate(request, lambda key_id, period: spend.get((key_id, period), 0))


def with_statements(tree: Tree, place: int, change: Any) -> Tree:
    """Return the tree with the statements of one key changed."""
    old = tree.parents[place]
    found = change(list((old.policy or {}).get("statements", [])))
    policy = {"version": "2024-01-01", "statements": found}
    new = msgspec.structs.replace(old, policy=policy)
    return Tree(
        [new if record is old else record for record in tree.parents],
        [new if record is old else record for record in tree.granters],
    )


@tries(150)
@given(trees() | conditional_trees(), requests(), spends())
def test_compiled_evaluator_equals_the_reference(
    tree: Tree, request: Attributes, spend: Spend
) -> None:
    found = decide(tree, request, spend)
    expected = reference.evaluate(tree.parents, tree.granters, request, spend)
    assert (found.allowed, found.reason, found.statement) == expected, found.message
    assert bool(found.message) is not found.allowed


@tries(50)
@given(trees(), requests(), spends(), statements(effects=("Deny",)), st.data())
def test_adding_a_deny_never_allows_more(
    tree: Tree, request: Attributes, spend: Spend, deny: Any, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(tree.parents) - 1))
    if decide(with_statements(tree, place, lambda old: [deny, *old]), request, spend).allowed:
        assert decide(tree, request, spend).allowed


@tries(50)
@given(trees(), requests(), spends(), st.data())
def test_order_of_statements_never_matters(
    tree: Tree, request: Attributes, spend: Spend, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(tree.parents) - 1))
    assume(tree.parents[place].policy is not None)
    shuffled = with_statements(tree, place, lambda old: data.draw(st.permutations(old)))
    found, same = decide(tree, request, spend), decide(shuffled, request, spend)
    assert (found.allowed, found.reason) == (same.allowed, same.reason)


@tries(80)
@given(conditional_trees() | trees(), requests(), spends(), spends())
def test_the_result_stands_as_long_as_its_guards_hold(
    tree: Tree, request: Attributes, spend: Spend, later: Spend
) -> None:
    found = decide(tree, request, spend)

    def all_hold(spend: Spend) -> bool:
        return all(
            (spend.get((guard.key_id, guard.period), 0) < guard.amount) is guard.under
            for guard in found.guards
        )

    assert all_hold(spend)
    if all_hold(later):
        again = decide(tree, request, later)
        assert again.allowed is found.allowed
        if found.allowed:
            assert again == found
