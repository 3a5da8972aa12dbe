"""Calendar windows: a pure function of period, timezone and now."""


class Calendar:
    """The days and months of one timezone, the current ones cached until they end.

    Windows are half-open and tile time: every instant is in exactly one day and
    one month, also over DST changes at midnight and skipped or repeated dates.
    """

    def __init__(self, timezone: str) -> None:
        raise NotImplementedError

    def day(self, now: int) -> tuple[int, int]:
        """Return (start, end) of the day around `now` (ns), in seconds since the epoch."""
        raise NotImplementedError

    def month(self, now: int) -> tuple[int, int]:
        """Return (start, end) of the month around `now` (ns), in seconds since the epoch."""
        raise NotImplementedError
