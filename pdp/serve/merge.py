"""The metrics of several workers as those of one data plane. Pure.

Counters and histograms are summed, and never fall: what a worker had counted that is gone
stays in the sum, as far as it was seen. Gauges are of the workers that answer, by a rule each.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from prometheus_client.core import Metric

GAUGES: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "pdp_revocation_age_seconds": max,
    "pdp_datastore_partitioned": max,
    "pdp_datastore_clock_skew_seconds": max,
    "pdp_spool_refusals": max,
    "pdp_build_info": max,
    # Redis tells all of them the same.
    "pdp_reconciled_timestamp_seconds": max,
    "pdp_counters_drifting": max,
    "pdp_counter_drift": max,
    "pdp_tls_certificate_expiry_timestamp_seconds": min,
    "pdp_spool_records": sum,
    "pdp_spool_bytes": sum,
    "pdp_spool_max_bytes": sum,
    "pdp_spool_waiting": sum,
}
"""What to make of each: the worst, or all together. One that is not named here: the largest."""

_Key = tuple[str, tuple[tuple[str, str], ...]]
_Counted = dict[str, dict[_Key, float]]


class Told(Struct, frozen=True):
    """What a worker has told; `life` counts its processes, one after another."""

    life: int
    metrics: Sequence[Metric]


class Merged:
    """Sums over workers and their lives."""

    def __init__(self) -> None:
        self._last: dict[int, Told] = {}
        self._gone: _Counted = {}
        self._heads: dict[str, Metric] = {}

    def merge(self, told: Mapping[int, Told]) -> list[Metric]:
        """Take what workers, by their numbers, tell now; return the metrics of all.

        Of one that tells nothing its counters stand as they last did.
        """
        for number, each in told.items():
            before = self._last.get(number)
            if before is not None and before.life != each.life:
                _add(self._gone, before.metrics)
            self._last[number] = each
            for metric in each.metrics:
                self._heads[metric.name] = metric
        sums = {name: dict(samples) for name, samples in self._gone.items()}
        for last in self._last.values():
            _add(sums, last.metrics)
        gauges = _gauges([each.metrics for each in told.values()])
        families = ((head, gauges if _is_gauge(head) else sums) for head in self._heads.values())
        return [_family(head, found.get(head.name, {})) for head, found in families]


def _is_gauge(metric: Metric) -> bool:
    return metric.type not in ("counter", "histogram")


def _add(sums: _Counted, metrics: Iterable[Metric]) -> None:
    for metric in metrics:
        if _is_gauge(metric):
            continue
        found = sums.setdefault(metric.name, {})
        for sample in metric.samples:
            key = sample.name, tuple(sample.labels.items())
            found[key] = found.get(key, 0.0) + sample.value


def _gauges(told: Iterable[Sequence[Metric]]) -> _Counted:
    values: dict[str, dict[_Key, list[float]]] = {}
    for metric in (metric for metrics in told for metric in metrics if _is_gauge(metric)):
        found = values.setdefault(metric.name, {})
        for sample in metric.samples:
            found.setdefault((sample.name, tuple(sample.labels.items())), []).append(sample.value)
    return {
        name: {key: GAUGES.get(name, max)(each) for key, each in found.items()}
        for name, found in values.items()
    }


def _family(head: Metric, samples: Mapping[_Key, float]) -> Metric:
    family = Metric(head.name, head.documentation, head.type)
    for (name, labels), value in samples.items():
        family.add_sample(name, dict(labels), value)
    return family
