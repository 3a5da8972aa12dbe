"""One statement, ready to be asked. Whether its action and resource match, the index knows."""

from msgspec import Struct

from pdp.policy.attributes import Attributes, SpendOf
from pdp.policy.budget import BudgetTest, compile_budget
from pdp.policy.document import Statement
from pdp.policy.names import NameTest, compile_names
from pdp.policy.operators import Test
from pdp.quota.hold import BudgetGuard


class CompiledStatement(Struct, frozen=True):
    """`label` is `<key_id>/statements[<index>]`; `sid` is for messages.

    Actions and resources are filed in the index and not kept here. `is_deny` is also what
    a condition counts as when the request lacks its attribute: what cannot be known never
    allows and always denies.
    """

    index: int
    label: str
    sid: str
    is_deny: bool
    names: tuple[NameTest, ...]
    tests: tuple[Test, ...]
    budgets: tuple[BudgetTest, ...]

    @property
    def conditions(self) -> str:
        """What it takes beside the names of models and providers, in words; empty: nothing."""
        words = [test.words for test in self.tests] + [test.words for test in self.budgets]
        return ", ".join(words)

    def admits(self, model: str, provider: str) -> bool:
        """Tell whether every `in` and `not_in` holds; names come folded for a Deny."""
        for test in self.names:
            held = test.holds(model, provider)
            if not (self.is_deny if held is None else held):
                return False
        return True

    def holds(self, request: Attributes, spend_of: SpendOf, relied_on: list[BudgetGuard]) -> bool:
        """Tell whether the rest of the condition holds; spend is asked for last."""
        for test in self.tests:
            held = test.holds(request)
            if not (self.is_deny if held is None else held):
                return False
        return not self.budgets or all(budget.holds(spend_of, relied_on) for budget in self.budgets)


def compile_statement(source: Statement, index: int, key_id: str) -> CompiledStatement:
    """Return the statement at `index` of a key's policy, compiled."""
    is_deny = source.effect == "Deny"
    condition = source.condition
    return CompiledStatement(
        index,
        f"{key_id}/statements[{index}]",
        source.sid,
        is_deny,
        tuple(compile_names(names, source.only, fold=is_deny) for names in condition.names),
        condition.tests,
        tuple(compile_budget(budget, key_id) for budget in condition.budgets),
    )
