"""The guards and prohibitions that apply to one key, gathered from both its chains."""

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

from pdp.quota.hold import BudgetGuard

SpendOf = Callable[[str, Literal["day", "month", "total"]], int]
"""(key_id, period) -> spent + held in nano-USD of the current window."""


class Attributes(Struct, frozen=True):
    """What a policy can ask about a request. Empty strings and None mean "missing".

    `provider` is never empty for a model-bearing action (`unknown` at least).
    `max_tokens` is what the client asked for, None if it did not. `now` in ns.
    """

    action: str
    model: str
    provider: str
    client_ip: str
    max_tokens: int | None
    metadata: Mapping[str, str]
    now: int


class Evaluation(Struct, frozen=True):
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


class Chain:
    """Compiled guards of one key: see docs/policy.md for the rules."""

    def evaluate(self, request: Attributes, spend_of: SpendOf) -> Evaluation:
        """Decide, in the reason order of the design; pure but for `spend_of`."""
        raise NotImplementedError
