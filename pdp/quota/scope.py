"""One key of a chain as the counters see it: its limits and its calendar."""

from msgspec import Struct

from pdp.quota.calendar import Calendar
from pdp.quota.limit import Limit, Rate


class Scope(Struct, frozen=True):
    """The compiled limits of one key. Spend is counted here whether limited or not.

    `calendar` caches the current day and month window of the organization's timezone.
    """

    key_id: str
    calendar: Calendar
    per_request: tuple[Limit, ...] = ()
    budgets: tuple[Limit, ...] = ()
    tokens: tuple[Limit, ...] = ()
    requests: tuple[Limit, ...] = ()
    rates: tuple[Rate, ...] = ()
