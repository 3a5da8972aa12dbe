"""Budget conditions: spent + held of the key that carries the statement, against an amount."""

from typing import Final, Literal

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.attributes import SpendOf
from pdp.quota.hold import BudgetGuard
from pdp.quota.money import format_usd, parse_usd

Period = Literal["day", "month", "total"]

_WORD_OF: Final = {"day": "daily", "month": "monthly", "total": "total"}


class Budget(Struct, frozen=True):
    """`under` holds below `amount` (nano-USD), the other from it on."""

    period: Period
    under: bool
    amount: int


def read_amount(cursor: Cursor) -> int | None:
    """Read USD as a number from 0 to 9,000,000 with at most 9 decimals; return nano-USD."""
    return parse_usd(cursor.value, cursor.at, cursor.problems)


class BudgetTest(Struct, frozen=True):
    """Compiled: a comparison of one key's spend, with the guard to leave for either outcome."""

    holds_as: BudgetGuard
    fails_as: BudgetGuard

    @property
    def words(self) -> str:
        """What it takes, for messages."""
        guard = self.holds_as
        side = "under" if guard.under else "over"
        return f"{_WORD_OF[guard.period]}_budget_{side} {format_usd(guard.amount)} USD"

    def holds(self, spend_of: SpendOf, relied_on: list[BudgetGuard]) -> bool:
        """Compare, and note in `relied_on` what was found, as a guard that holds."""
        guard = self.holds_as
        under = spend_of(guard.key_id, guard.period) < guard.amount
        relied_on.append(guard if under is guard.under else self.fails_as)
        return under is guard.under


def compile_budget(budget: Budget, key_id: str) -> BudgetTest:
    """Return the test for the spend of a key."""
    return BudgetTest(
        BudgetGuard(key_id, budget.period, budget.under, budget.amount),
        BudgetGuard(key_id, budget.period, not budget.under, budget.amount),
    )
