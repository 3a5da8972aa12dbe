"""What the policies say about a request."""

from typing import Final

from msgspec import Struct

from pdp.quota.hold import BudgetGuard


class Evaluation(Struct, frozen=True, gc=False):
    """What the policies say. `statement` is `<key_id>/statements[<index>]` or empty.

    `reason` is `ok`, `ip_not_allowed`, `policy_denied`, `action_not_allowed`,
    `model_not_allowed` or `condition_not_met`; `message` names the key and what
    to do. `guards` are the budget conditions that the result rests on.
    """

    allowed: bool
    reason: str
    message: str = ""
    statement: str = ""
    guards: tuple[BudgetGuard, ...] = ()


ALLOWED: Final = Evaluation(allowed=True, reason="ok")
