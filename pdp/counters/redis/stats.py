"""What is counted of the calls to Redis: plain integers, read when somebody scrapes."""

from collections.abc import Callable

from pdp.reconcile.told import Told


class LineStats:
    """Counts since the process started. `observe` takes the ns of each call."""

    def __init__(self, observe: Callable[[int], None] = lambda _: None) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        """By op, and `ok`, `timeout`, `error` or `refused`."""
        self.is_away = False
        """Redis does not answer."""
        self.is_apart = False
        """It is another one than the rest counts in."""
        self.refusing = 0
        """Roots where it answers, and writes nothing."""
        self.skew = 0
        """ns by which Redis' clock differs from this machine's, either way."""
        self.drift: Told | None = None
        """What the last comparison of counters and ledger has found; None: there was none."""
        self._observe = observe

    @property
    def is_partitioned(self) -> bool:
        """Whether some limits cannot be compared with what was spent."""
        return self.is_away or self.is_apart or self.refusing > 0

    def called(self, op: str, outcome: str, took: int) -> None:
        """Count one call."""
        self.note(op, outcome)
        self._observe(took)

    def note(self, op: str, outcome: str) -> None:
        """Count what did not become a call of its own."""
        name = op, outcome
        self.calls[name] = self.calls.get(name, 0) + 1
