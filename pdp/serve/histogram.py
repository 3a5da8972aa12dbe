"""A histogram for hot paths: one bisect and two additions; labels cost nothing until a scrape."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

BOUNDS_NS = tuple(
    int(seconds * 1e9)
    for seconds in (
        5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    )
)  # fmt: skip
"""Upper bounds in ns. A Check takes some 10^-4 s, hence the many small ones."""


class Histogram:
    """Counts durations in ns: `counts` by bucket, those above all bounds last."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.sum_ns = 0

    def observe(self, duration_ns: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_NS, duration_ns)] += 1
        self.sum_ns += duration_ns

    def buckets(self) -> Sequence[tuple[str, int]]:
        """Return (upper bound in seconds, how many up to it), as Prometheus wants them."""
        rows, total = [], 0
        for bound, count in zip(BOUNDS_NS, self.counts, strict=False):
            total += count
            rows.append((repr(bound / 1e9), total))
        rows.append(("+Inf", total + self.counts[-1]))
        return rows

    def add(self, other: "Histogram") -> None:
        """Count what another one has counted."""
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.sum_ns += other.sum_ns


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Return one that has counted what all have."""
    merged = Histogram()
    for histogram in histograms:
        merged.add(histogram)
    return merged
