"""What workers tell of themselves."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from pdp.errors import StartRefused
from pdp.serve.figures import FiguresPort, figures_at
from pdp.serve.ops import registry_of


class One(Collector):
    """One counter."""

    def collect(self) -> Iterable[Metric]:
        """Yield it."""
        yield CounterMetricFamily("pdp_holds_expired", "Holds.", value=7)


async def test_who_connects_is_told_and_whoever_tells_half_is_not_heard(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.sock"
    assert await figures_at(path) is None, "nobody is there"
    port = FiguresPort(registry_of([One()]), path)
    port.start()
    told = await figures_at(path)
    assert told is not None
    assert [(each.name, each.samples[0].value) for each in told] == [("pdp_holds_expired", 7)]
    await port.stop()
    assert await figures_at(path) is None, "it is gone"
    path.unlink()

    async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"# TYPE pdp_holds_expired_total counter\npdp_holds_expired_total 7")
        writer.close()

    server = await asyncio.start_unix_server(break_off, path)
    assert await figures_at(path) is None
    server.close()


def test_a_data_dir_that_no_socket_fits_in_is_said_to_be_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with pytest.raises(StartRefused, match=r"^PDP_DATA_DIR: .*too long for a unix socket"):
        FiguresPort(registry_of([]), deep / "worker-1.sock")
