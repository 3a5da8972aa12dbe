"""What the engine counts: plain integers, read when somebody scrapes."""


class Stats:
    """Counts since the process started. Keys are the label values of the metrics."""

    def __init__(self) -> None:
        self.checks: dict[tuple[str, str, str], int] = {}
        self.reports: dict[str, int] = {}
        self.tokens: dict[tuple[str, str], int] = {}
        self.cost: dict[str, int] = {}
        self.holds_expired = 0
        self.heartbeats_late = 0
        self.spool_failures = 0

    def checked(self, decision: str, reason: str, adapter: str) -> None:
        """Count one Check."""
        labels = (decision, reason, adapter)
        self.checks[labels] = self.checks.get(labels, 0) + 1

    def reported(self, result: str) -> None:
        """Count one usage by what became of it."""
        self.reports[result] = self.reports.get(result, 0) + 1

    def used(self, provider: str, prompt: int, completion: int, cached: int, cost: int) -> None:
        """Count what a settled usage consumed; `cost` in nano-USD."""
        tokens = self.tokens
        for labels, amount in (
            ((provider, "prompt"), prompt),
            ((provider, "completion"), completion),
            ((provider, "cached"), cached),
        ):
            if amount:
                tokens[labels] = tokens.get(labels, 0) + amount
        if cost:
            self.cost[provider] = self.cost.get(provider, 0) + cost
