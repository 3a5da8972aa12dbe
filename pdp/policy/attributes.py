"""What a policy can ask about a request."""

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

SpendOf = Callable[[str, Literal["day", "month", "total"]], int]
"""(key_id, period) -> spent + held in nano-USD of the current window."""


class Attributes(Struct, frozen=True, gc=False):
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
