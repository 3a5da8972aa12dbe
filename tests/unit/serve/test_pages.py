"""docs/settings.md and docs/monitoring.md name what there is: all of it, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from prometheus_client.core import Metric

from pdp.app.workers import Workers
from pdp.counters.redis.stats import LineStats
from pdp.data.keycache import CacheStats
from pdp.reconcile.told import told_of
from pdp.serve.expiry import CertificateCollector
from pdp.serve.histogram import Histogram
from pdp.serve.metrics import DataPlaneCollector, Sources, SpoolFigures
from pdp.settings import PREFIX, Settings
from pdp.stats import Stats

ROOT = Path(__file__).parents[3]
_SETTING = re.compile(r"^\| `(PDP_\w+)` \| ([^|]+) \|", re.MULTILINE)
_METRIC = re.compile(r"\b((?:pdp|grpc_server)_[a-z_]+)\b")
_SUFFIX = re.compile(r"_(bucket|count|sum)$")


def settings_on(page: str) -> dict[str, str]:
    rows = _SETTING.findall((ROOT / page).read_text("utf-8"))
    assert len(rows) == len(dict(rows)), "none is there twice"
    return {name: default.strip() for name, default in rows}


def test_the_page_of_settings_has_all_of_them_with_their_defaults() -> None:
    page = settings_on("docs/settings.md")
    fields = {f"{PREFIX}{name.upper()}": name for name in Settings.__struct_fields__}
    assert page.keys() == fields.keys()
    for name, default in page.items():
        value = getattr(Settings(), fields[name])
        if value is None:
            assert not default.startswith("`") or " " in default, f"{name} has no default"
        else:
            assert default == f"`{str(value).lower()}`", name
    readme = settings_on("README.md")
    assert readme.items() <= {**page, "PDP_KEY_PEPPER": readme["PDP_KEY_PEPPER"]}.items()


def families() -> Iterator[Metric]:
    stats = LineStats()
    stats.drift = told_of((), 0)
    yield from DataPlaneCollector(
        Sources(
            stats=Stats(),
            methods=(),
            cache=CacheStats(),
            revocation_age=lambda: 0,
            spool=lambda: SpoolFigures(0, 0, 0, 0, 0, 0),
            transport="native",
            late_spool_failures=lambda: 0,
            http_checks=(),
            usage_lines=lambda: (),
            datastore=stats,
            datastore_latency=Histogram(),
        )
    ).collect()
    yield from CertificateCollector({}).collect()
    yield from Workers(Settings(), ()).collect()


def test_the_page_of_metrics_has_all_of_them_and_asks_for_no_other() -> None:
    told = {f"{each.name}_total" if each.type == "counter" else each.name for each in families()}
    page = (ROOT / "docs/monitoring.md").read_text("utf-8")
    table = page[page.index("## Metrics") : page.index("## Alerts")]
    listed = set(_METRIC.findall(re.sub(r"\{[^}]*\}", "", table)))
    assert listed == told
    assert {_SUFFIX.sub("", name) for name in _METRIC.findall(page)} <= told
    rules = yaml.safe_load(page.split("```yaml\n")[2].partition("```")[0])
    alerts = [rule["alert"] for rule in rules["groups"][0]["rules"]]
    assert len(alerts) == len(set(alerts)) > 10
    for name in re.findall(r"`(Pdp\w+)`", page):
        assert name in alerts
