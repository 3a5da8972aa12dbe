"""What a limit is, once compiled. Everything here is immutable and integer."""

from typing import Literal

from msgspec import Struct

Unit = Literal["nano_usd", "tokens", "requests"]
Period = Literal["request", "day", "month", "total"]


class Limit(Struct, frozen=True):
    """At most `amount` of `unit` in each `period` of the key and all its descendants.

    `name` is the limit as its author wrote it (`budget_limits.monthly`);
    `key_name` is there for messages. Period `request` bounds a single request.
    `is_lenient`: without the backend that counts it, it allows; None: as the operator says.
    """

    name: str
    key_id: str
    key_name: str
    unit: Unit
    period: Period
    amount: int
    is_lenient: bool | None = None


class Rate(Struct, frozen=True):
    """A GCRA rate limit: `amount` requests each `period` ns, `capacity` of them at once.

    `interval` is ns between two requests at the steady rate, rounded up so that
    rounding never admits more. `amount` 0 blocks everything (`interval` and
    `capacity` 0 then). `slot` tells the rates of one key apart: the period, negative
    for the shorthand, which applies beside a long form of the same period.
    """

    name: str
    key_id: str
    key_name: str
    amount: int
    period: int
    interval: int
    capacity: int
    slot: int
