"""What one key has spent and holds: the state that limits are compared with.

About 700 bytes a key with traffic in the current day and month.
"""

from typing import Final

from msgspec import Struct

from pdp.quota.calendar import Calendar
from pdp.quota.limit import Period

DAYS_KEPT: Final = 4 * 86400
"""Seconds that a day's account outlives it: corrections come for 48 hours, clocks go back."""

MONTHS_KEPT: Final = 35 * 86400
"""The same for months."""


class Bucket:
    """Money (nano-USD) and tokens of one window, which starts at second `start`.

    No struct: to set a field of one takes twice as long, and a Check sets twenty.
    """

    __slots__ = ("held", "spent", "start", "tokens_held", "tokens_spent")

    def __init__(
        self,
        start: int = 0,
        spent: int = 0,
        held: int = 0,
        tokens_spent: int = 0,
        tokens_held: int = 0,
    ) -> None:
        self.start = start
        self.spent = spent
        self.held = held
        self.tokens_spent = tokens_spent
        self.tokens_held = tokens_held

    def values(self) -> tuple[int, ...]:
        """Return what it is made of, in the order in which it is kept on disk."""
        return self.start, self.spent, self.held, self.tokens_spent, self.tokens_held


class Total(Bucket):
    """What was spent ever, and how many requests there were."""

    __slots__ = ("requests",)

    def __init__(
        self,
        start: int = 0,
        spent: int = 0,
        held: int = 0,
        tokens_spent: int = 0,
        tokens_held: int = 0,
        requests: int = 0,
    ) -> None:
        super().__init__(start, spent, held, tokens_spent, tokens_held)
        self.requests = requests

    def values(self) -> tuple[int, ...]:
        """Return what it is made of, in the order in which it is kept on disk."""
        return (*super().values(), self.requests)


class Account(Struct, array_like=True):
    """One key and all its descendants.

    `day` and `month` are the latest windows that were used. Older ones move to
    `past_*`, where holds that were made in them are settled. `tats` are the rates'
    theoretical arrival times by `Rate.slot`.
    """

    key_id: str
    day: Bucket
    month: Bucket
    total: Total
    tats: dict[int, int]
    past_days: dict[int, Bucket] | None = None
    past_months: dict[int, Bucket] | None = None

    def at(self, day: int, month: int) -> "Account":
        """Return this account with the windows that start at `day` and `month` (s).

        That is the account itself for the latest windows, and a view that
        shares its parts for others.
        """
        if day > self.day.start:
            self.past_days = _archive(self.past_days, self.day, day - DAYS_KEPT)
            self.day = Bucket(day)
        if month > self.month.start:
            self.past_months = _archive(self.past_months, self.month, month - MONTHS_KEPT)
            self.month = Bucket(month)
        if day == self.day.start and month == self.month.start:
            return self
        if self.past_days is None:
            self.past_days = {}
        if self.past_months is None:
            self.past_months = {}
        return Account(
            self.key_id,
            _among(self.day, self.past_days, day),
            _among(self.month, self.past_months, month),
            self.total,
            self.tats,
        )

    def bucket(self, period: Period) -> Bucket:
        """Return the bucket of this account's day, of its month, or of all time."""
        if period == "day":
            return self.day
        return self.month if period == "month" else self.total

    def bucket_at(self, period: Period, calendar: Calendar, now: int) -> Bucket:
        """Return the bucket around `now` (ns) to read from, an empty one if nothing is known."""
        if period == "day":
            return _find(self.day, self.past_days, calendar.day(now)[0])
        if period == "month":
            return _find(self.month, self.past_months, calendar.month(now)[0])
        return self.total


_NONE: Final[dict[int, Bucket]] = {}


def _find(latest: Bucket, past: dict[int, Bucket] | None, start: int) -> Bucket:
    if start == latest.start:
        return latest
    return (past or _NONE).get(start) or Bucket(start)


def _archive(past: dict[int, Bucket] | None, bucket: Bucket, oldest: int) -> dict[int, Bucket]:
    """Return the past with `bucket` added and what is old and holds nothing dropped.

    `bucket` itself stays: had the clock only leapt ahead, it would be the present again.
    """
    kept = {
        start: each
        for start, each in (past or _NONE).items()
        if start >= oldest or each.held or each.tokens_held
    }
    kept[bucket.start] = bucket
    return kept


def _among(latest: Bucket, past: dict[int, Bucket], start: int) -> Bucket:
    if start == latest.start:
        return latest
    bucket = past.get(start)
    if bucket is None:
        bucket = past[start] = Bucket(start)
    return bucket
