"""Where the operator has a choice in how the engine decides."""

from typing import Literal

from msgspec import Struct


class Options(Struct, frozen=True):
    """Choices of the engine.

    `default_output_tokens`: bound of the output when the request has none.
    `hold_ttl`: ns until an unreported hold expires; `unreported`: what it is
    charged then. `unknown_price`: what happens under a budget without a price.
    `budget_status`: HTTP status of `budget_exceeded`. `roots_in_ids`: reservations carry
    the root of their chain, where any data plane may have to find them.
    """

    default_output_tokens: int = 4096
    hold_ttl: int = 600 * 1_000_000_000
    unreported: Literal["full", "input", "zero"] = "full"
    unknown_price: Literal["deny", "allow"] = "deny"
    budget_status: int = 403
    roots_in_ids: bool = False
