"""Reservations: what a Check asks of the counters, and what they answer."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from pdp.model import LimitStatus, Units
from pdp.quota.cost import Price
from pdp.quota.limit import Limit, Rate
from pdp.quota.plan import Plan
from pdp.quota.scope import Scope


class Window(Struct, frozen=True, array_like=True, gc=False):
    """The calendar windows of one key that a hold or usage counts in.

    `day` and `month` are the windows' starts, in seconds since the epoch. A hold
    keeps the windows of its admission until it is settled.
    """

    key_id: str
    day: int
    month: int


class BudgetGuard(Struct, frozen=True, gc=False):
    """A budget condition that an evaluation relied on; reserve refuses if it no longer holds.

    Holds when spent + held of `key_id` in `period` is `<` (under) or `>=` (over)
    `amount`, in nano-USD, before this request.
    """

    key_id: str
    period: Literal["day", "month", "total"]
    under: bool
    amount: int


class Hold(Struct, frozen=True, array_like=True, gc=False):
    """Money, tokens and one request, reserved for a request on every key of its chain.

    `cost` is None when the price is unknown (it counts as 0). `input_cost` is
    the part of `cost` for the prompt. `fingerprint` tells a retried Check from
    another request under the same id. `statement` is the one that allowed it. `price` is
    the one of then, for what is used is charged by it; `units` as in `Request`. Times in ns.
    """

    reservation_id: str
    decision_id: str
    key_id: str
    request_id: str
    fingerprint: int
    action: str
    model: str
    provider: str
    cost: int | None
    input_cost: int
    tokens: int
    prompt_tokens: int
    windows: tuple[Window, ...]
    admitted_at: int
    expires_at: int
    statement: str = ""
    price: Price | None = None
    units: Units | None = None


class Reserve(Struct, frozen=True, gc=False):
    """All-or-nothing: put `hold` on every scope of `plan` if all its limits and the guards allow.

    With `dry_run` nothing moves and the verdict is what it would have been.
    `scope_of` has the scope of every key that a guard may name: a granter is
    not always an ancestor.
    """

    hold: Hold
    plan: Plan
    guards: tuple[BudgetGuard, ...]
    now: int
    dry_run: bool = False
    scope_of: Mapping[str, Scope] = {}


class Admitted(Struct, frozen=True, gc=False):
    """The hold stands. `rates` are (key_id, slot, new TAT) of every rate limit that moved.

    `tightest_requests` and `tightest_tokens` are the limits with the least left
    after this request, for the rate-limit headers; None if there is none.
    """

    hold: Hold
    rates: tuple[tuple[str, int, int], ...] = ()
    tightest_requests: LimitStatus | None = None
    tightest_tokens: LimitStatus | None = None


class Refused(Struct, frozen=True, gc=False):
    """`limit` has no room: nothing moved anywhere.

    `asked`, `spent`, `held` are in the limit's unit. `retry_after` is in ns;
    None where waiting does not help.
    """

    limit: Limit | Rate
    asked: int
    spent: int
    held: int
    retry_after: int | None = None
    reset_at: int | None = None


def too_large(plan: Plan, tokens: int) -> Refused | None:
    """Return the first limit of a single request that `tokens` exceeds; 0 blocks every one."""
    for limit in plan.per_request:
        if tokens > limit.amount or not limit.amount:
            return Refused(limit, tokens, 0, 0)
    return None


class GuardFailed(Struct, frozen=True):
    """A guard no longer holds: nothing moved; evaluate again with fresh spend."""

    guard: BudgetGuard


class Open(Struct, frozen=True, gc=False):
    """The request has this live hold already, made for it before: nothing moved."""

    hold: Hold


Verdict = Admitted | Refused | GuardFailed | Open

Absent = Literal["settled", "unknown", "new"]
"""Why there is no hold: settled before; never issued; or never checked nor reported."""


class Outcome(Struct, frozen=True, array_like=True, gc=False):
    """What became of a request: what it was charged, and the tokens that were told.

    `cost` is None where it is not known, and counts as 0; `tokens` are what token limits were
    charged. Others are told where they report the same: the counters keep it for 49 hours.
    """

    cost: int | None
    tokens: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class Settlement(Struct, frozen=True, gc=False):
    """Replace a hold by what was used, or charge a usage that was never held.

    `expired`: the hold ran out and is charged by policy; one report may still
    correct it. `cost` in nano-USD. Without a `reservation_id` the usage counts
    in `windows`; else in those of the hold. A usage without hold counts one request.
    `outcome` is that of a report.
    """

    reservation_id: str
    key_id: str
    request_id: str
    cost: int
    tokens: int
    windows: tuple[Window, ...]
    now: int
    expired: bool = False
    outcome: Outcome | None = None
