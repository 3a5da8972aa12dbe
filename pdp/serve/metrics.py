"""What Prometheus reads. Everything is made when it is scraped, out of plain integers.

No label holds a key, a user or free text; the engine counts a provider that is not
in the price table as `other`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pdp import __version__
from pdp.counters.redis.stats import LineStats
from pdp.data.keycache import CacheStats
from pdp.reconcile.told import Told
from pdp.serve.histogram import Histogram, merge
from pdp.serve.rpc import MethodStats
from pdp.stats import Stats


class SpoolFigures(Struct, frozen=True):
    """Records that are not in the ledger, refused in a row, `waiting` in memory, and `skipped`."""

    records: int
    refusals: int
    bytes: int
    max_bytes: int
    waiting: int
    skipped: int


class Sources(Struct, frozen=True):
    """Where the figures come from.

    `revocation_age` in ns, `spool` what is on the way to the ledger;
    `late_spool_failures` are those that came after the engine had gone on; `http_checks`
    the times of Checks that came over HTTP; `usage_lines` are (channel, result, lines).
    """

    stats: Stats
    methods: Sequence[MethodStats]
    cache: CacheStats
    revocation_age: Callable[[], int]
    spool: Callable[[], SpoolFigures]
    transport: str
    late_spool_failures: Callable[[], int]
    http_checks: Sequence[Histogram]
    usage_lines: Callable[[], Iterable[tuple[str, str, int]]]
    datastore: LineStats | None = None
    datastore_latency: Histogram | None = None


class DataPlaneCollector(Collector):
    """The metrics of a data plane."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        """Yield every metric family."""
        sources = self._sources
        yield from _rpc(sources.methods)
        yield from _decisions(sources)
        cache = CounterMetricFamily(
            "pdp_cache_access", "Look-ups in the key cache.", labels=("cache", "result")
        )
        cache.add_metric(("keys", "hit"), sources.cache.hits)
        cache.add_metric(("keys", "miss"), sources.cache.misses)
        cache.add_metric(("unknown_keys", "hit"), sources.cache.negative_hits)
        yield cache
        yield GaugeMetricFamily(
            "pdp_revocation_age_seconds",
            "Seconds since the cached keys were last known to be true.",
            value=sources.revocation_age() / 1e9,
        )
        yield from _spool(sources.spool())
        yield from _datastore(sources)
        build = GaugeMetricFamily(
            "pdp_build_info", "Version and transport.", labels=("version", "transport")
        )
        build.add_metric((__version__, sources.transport), 1)
        yield build


def _datastore(sources: Sources) -> Iterator[Metric]:
    stats, latency = sources.datastore, sources.datastore_latency
    yield GaugeMetricFamily(
        "pdp_datastore_partitioned",
        "1 while Redis does not answer, or takes no writes: limits that need it do what "
        "`on_backend_error` says.",
        value=int(stats is not None and stats.is_partitioned),
    )
    calls = CounterMetricFamily("pdp_datastore_calls", "Calls of Redis.", labels=("op", "outcome"))
    seconds = HistogramMetricFamily("pdp_datastore_latency_seconds", "Time of a call of Redis.")
    if stats is not None and latency is not None:
        for labels, count in stats.calls.items():
            calls.add_metric(labels, count)
        seconds.add_metric((), list(latency.buckets()), latency.sum_ns / 1e9)
    yield calls
    yield seconds
    if stats is not None:
        yield GaugeMetricFamily(
            "pdp_datastore_clock_skew_seconds",
            "Seconds by which Redis' clock differs from this machine's, either way.",
            value=stats.skew / 1e9,
        )
    if stats is not None and stats.drift is not None:
        yield from drift_metrics(stats.drift)


def drift_metrics(told: Told) -> Iterator[Metric]:
    """Yield what all data planes say alike, for it is in Redis."""
    yield GaugeMetricFamily(
        "pdp_reconciled_timestamp_seconds",
        "When counters and ledger were last compared (Unix time).",
        value=told.at,
    )
    numbers = GaugeMetricFamily(
        "pdp_counters_drifting", "Counters that differ from the ledger.", labels=("direction",)
    )
    sizes = GaugeMetricFamily(
        "pdp_counter_drift",
        "The largest difference of a counter from the ledger.",
        labels=("unit", "direction"),
    )
    for each in told.sizes:
        sizes.add_metric((each.unit, each.direction), each.largest)
    for direction, number in told.numbers.items():
        numbers.add_metric((direction,), number)
    yield numbers
    yield sizes


def _rpc(methods: Sequence[MethodStats]) -> Iterator[Metric]:
    names = ("grpc_type", "grpc_service", "grpc_method")
    started = CounterMetricFamily("grpc_server_started", "RPCs started.", labels=names)
    handled = CounterMetricFamily(
        "grpc_server_handled", "RPCs completed.", labels=(*names, "grpc_code")
    )
    seconds = HistogramMetricFamily(
        "grpc_server_handling_seconds", "Time in the handler.", labels=names
    )
    for method in methods:
        labels = (method.type, method.service, method.method)
        started.add_metric(labels, method.started)
        for code, count in method.handled.items():
            handled.add_metric((*labels, code), count)
        histogram = method.seconds
        seconds.add_metric(labels, list(histogram.buckets()), histogram.sum_ns / 1e9)
    yield started
    yield handled
    yield seconds


def _spool(spool: SpoolFigures) -> Iterator[Metric]:
    for name, text, value in (
        ("records", "Records in the spool that are not in the ledger yet.", spool.records),
        (
            "refusals",
            "How often in a row the ledger has refused the next records: somebody has to look.",
            spool.refusals,
        ),
        ("bytes", "What the spool's segments take of the disk.", spool.bytes),
        ("max_bytes", "What they may take: PDP_SPOOL_MAX_BYTES.", spool.max_bytes),
        ("waiting", "Records in memory that cannot be written yet.", spool.waiting),
    ):
        yield GaugeMetricFamily(f"pdp_spool_{name}", text, value=value)
    yield CounterMetricFamily(
        "pdp_spool_skipped",
        "Denials without an audit entry, for room is scarce.",
        value=spool.skipped,
    )


def _decisions(sources: Sources) -> Iterator[Metric]:
    stats = sources.stats
    checks = CounterMetricFamily(
        "pdp_checks", "Decisions.", labels=("decision", "reason", "adapter")
    )
    for labels, count in stats.checks.items():
        checks.add_metric(labels, count)
    yield checks
    duration = HistogramMetricFamily("pdp_check_duration_seconds", "Time of a Check.")
    # Over whatever adapter it came.
    called = [
        method.seconds
        for method in sources.methods
        if method.method == "Check" and not method.service.startswith("grpc.")
    ]
    merged = merge([*called, *sources.http_checks])
    duration.add_metric((), list(merged.buckets()), merged.sum_ns / 1e9)
    yield duration
    yield from _reports(sources)


def _reports(sources: Sources) -> Iterator[Metric]:
    stats = sources.stats
    reports = CounterMetricFamily("pdp_reports", "Usages reported.", labels=("result",))
    for result, count in stats.reports.items():
        reports.add_metric((result,), count)
    yield reports
    lines = CounterMetricFamily(
        "pdp_nginx_usage_lines", "Usage lines of NGINX.", labels=("channel", "result")
    )
    for channel, result, count in sources.usage_lines():
        lines.add_metric((channel, result), count)
    yield lines
    yield from _usage(sources)
    yield CounterMetricFamily(
        "pdp_holds_expired", "Holds that ran out unreported.", value=stats.holds_expired
    )
    yield CounterMetricFamily(
        "pdp_heartbeats_late",
        "Heartbeats of streams whose hold had run out, or was about to be charged.",
        value=stats.heartbeats_late,
    )
    yield CounterMetricFamily(
        "pdp_spool_failures",
        "Records that could not be written when they came: kept in memory, or lost.",
        value=stats.spool_failures + sources.late_spool_failures(),
    )


def _usage(sources: Sources) -> Iterator[Metric]:
    tokens = CounterMetricFamily("pdp_tokens", "Tokens settled.", labels=("provider", "kind"))
    for labels, count in sources.stats.tokens.items():
        tokens.add_metric(labels, count)
    yield tokens
    cost = CounterMetricFamily("pdp_cost_usd", "Cost settled, in USD.", labels=("provider",))
    for provider, nano in sources.stats.cost.items():
        cost.add_metric((provider,), nano / 1e9)
    yield cost
