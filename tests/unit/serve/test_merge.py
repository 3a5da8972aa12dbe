"""The metrics of several workers as those of one."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families

from pdp.serve.histogram import Histogram
from pdp.serve.merge import GAUGES, Merged, Told
from pdp.serve.ops import registry_of


def told(life: int, checks: int, *, records: int = 0, age: float = 0.0, reason: str = "ok") -> Told:
    """Return what a worker tells, as it arrives: through Prometheus' text format."""
    counter = CounterMetricFamily("pdp_checks", "Decisions.", labels=("reason",))
    counter.add_metric((reason,), checks)
    histogram = Histogram()
    for _ in range(checks):
        histogram.observe(70_000)
    seconds = HistogramMetricFamily("pdp_check_duration_seconds", "Time of a Check.")
    seconds.add_metric((), list(histogram.buckets()), histogram.sum_ns / 1e9)
    gauges = [
        GaugeMetricFamily("pdp_spool_records", "Records.", value=records),
        GaugeMetricFamily("pdp_revocation_age_seconds", "Seconds.", value=age),
        GaugeMetricFamily("pdp_tls_certificate_expiry_timestamp_seconds", "When.", value=9 - age),
    ]
    return Told(life, through_text([counter, seconds, *gauges]))


def through_text(metrics: list[Metric]) -> list[Metric]:
    class Collects:
        def collect(self) -> list[Metric]:
            return metrics

    text = generate_latest(registry_of([Collects()])).decode()
    return list(text_string_to_metric_families(text))


def values(metrics: list[Metric]) -> dict[str, float]:
    """Return samples as Prometheus reads them, by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for metric in through_text(metrics)
        for sample in metric.samples
    }


def test_counters_and_histograms_are_summed_and_gauges_by_their_rule() -> None:
    found = values(Merged().merge({1: told(1, 3, records=5, age=1.0), 2: told(1, 4, records=6)}))
    assert found["pdp_checks_total[('reason', 'ok')]"] == 7
    assert found["pdp_check_duration_seconds_count"] == 7
    assert found["pdp_check_duration_seconds_sum"] == pytest.approx(7 * 70e-6)
    assert found["pdp_check_duration_seconds_bucket[('le', '5e-05')]"] == 0
    assert found["pdp_check_duration_seconds_bucket[('le', '0.0001')]"] == 7
    assert found["pdp_check_duration_seconds_bucket[('le', '+Inf')]"] == 7
    assert found["pdp_spool_records"] == 11
    assert found["pdp_revocation_age_seconds"] == 1
    assert found["pdp_tls_certificate_expiry_timestamp_seconds"] == 8


def test_counters_never_fall_and_gauges_are_of_those_that_live() -> None:
    merged = Merged()
    merged.merge({1: told(1, 3, records=5), 2: told(1, 4, records=6)})
    gone = values(merged.merge({1: told(1, 10, records=5)}))
    assert gone["pdp_checks_total[('reason', 'ok')]"] == 14
    assert gone["pdp_spool_records"] == 5
    back = values(merged.merge({1: told(1, 10), 2: told(2, 1, reason="budget_exceeded")}))
    assert back["pdp_checks_total[('reason', 'ok')]"] == 14
    assert back["pdp_checks_total[('reason', 'budget_exceeded')]"] == 1
    assert back["pdp_check_duration_seconds_count"] == 15
    again = values(merged.merge({2: told(3, 1)}))
    assert again["pdp_checks_total[('reason', 'ok')]"] == 15
    assert again["pdp_check_duration_seconds_count"] == 16


def test_without_any_worker_there_is_nothing_to_tell() -> None:
    assert Merged().merge({}) == []


def test_rules_are_for_gauges_that_there_are() -> None:
    assert all(rule in (min, max, sum) for rule in GAUGES.values())
