"""What several workers have together, without their processes."""

import asyncio
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.core import CounterMetricFamily, Metric

from pdp.app.workers import Workers, needed, ports_claimed
from pdp.cli.serve import Planes, check_settings
from pdp.errors import StartRefused
from pdp.hidden import Hidden
from pdp.seat import Seat, further_spools, spool_dirs
from pdp.serve.http import listen
from pdp.serve.supervisor import Child
from pdp.settings import Settings
from tests.ports import free_port


def settings_of(tmp_path: Path, **others: object) -> Settings:
    made = Settings(
        data_dir=tmp_path,
        grpc_listen=f"127.0.0.1:{free_port()}",
        nginx_listen=f"127.0.0.1:{free_port()}",
        nginx_usage_listen=f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
    )
    return replace(made, **others)


def test_each_has_its_own_of_what_cannot_be_shared(tmp_path: Path) -> None:
    log = tmp_path / "usage.log"
    shared = settings_of(tmp_path, grpc_listen="unix:/run/pdp.sock", nginx_usage_file=log)
    first, third = Seat(1, 3), Seat(3, 3)
    assert first.settings(shared) == shared
    assert third.settings(shared).grpc_listen == "unix:/run/pdp.sock.3"
    assert third.settings(shared).nginx_listen == shared.nginx_listen
    assert third.settings(shared).nginx_usage_file is None
    assert [Seat(n, 3).spool_dir(shared).name for n in (1, 2, 3)] == ["spool", "spool-2", "spool-3"]
    for path in (*spool_dirs(shared, 3), tmp_path / "spool-old"):
        path.mkdir()
        (path / "spool_id").touch()
    assert [path.name for path in further_spools(shared, 1)] == ["spool-2", "spool-3"]
    assert further_spools(shared, 3) == []


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("grpc_listen", socket.SOCK_STREAM),
        ("nginx_listen", socket.SOCK_STREAM),
        ("nginx_usage_listen", socket.SOCK_DGRAM),
    ],
)
def test_a_port_of_somebody_else_is_not_shared_with_him(
    tmp_path: Path, field: str, kind: socket.SocketKind
) -> None:
    settings = settings_of(tmp_path)
    host, _, port = getattr(settings, field).rpartition(":")
    with socket.socket(type=kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, int(port)))
        if kind is socket.SOCK_STREAM:
            other.listen()
        name = f"PDP_{field.upper()}"
        with (
            pytest.raises(StartRefused, match=f"^{name}: .*address already in use"),
            ports_claimed(settings),
        ):
            pass
    with (
        ports_claimed(settings),
        listen(settings.nginx_listen, "PDP_NGINX_LISTEN", shared=True) as one,
        listen(settings.nginx_listen, "PDP_NGINX_LISTEN", shared=True),
        socket.create_connection(one.getsockname(), timeout=30),
        pytest.raises(StartRefused),
        ports_claimed(settings),
    ):
        pass


def test_a_port_that_workers_share_has_a_number(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, grpc_listen="127.0.0.1:0")
    with pytest.raises(StartRefused, match=r"^PDP_GRPC_LISTEN: .*port"), ports_claimed(settings):
        pass


def test_it_is_ready_when_all_have_been_and_half_are(tmp_path: Path) -> None:
    assert [needed(workers) for workers in (2, 3, 4, 5)] == [1, 2, 2, 3]
    children = [Child("data", {}, number, 3) for number in (1, 2, 3)]
    workers = Workers(settings_of(tmp_path), children)
    children[0].is_ready = children[1].is_ready = True
    assert workers.unready() == "2 of 3 workers are ready"
    for child in children:
        child.is_ready = True
        child.ready.set()
    assert workers.unready() == ""
    children[0].is_ready = False
    assert workers.unready() == ""
    children[1].is_ready = False
    assert workers.unready() == "1 of 3 workers are ready"


async def test_counters_do_not_fall_for_two_who_ask_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, is_slow = iter((5, 8)), iter((True, False))
    may_go_on = asyncio.Event()

    async def figures_at(_: Path) -> list[Metric]:
        counter = CounterMetricFamily("pdp_checks", "Decisions.", value=next(counts))
        if next(is_slow):
            await may_go_on.wait()
        return [counter]

    monkeypatch.setattr("pdp.app.workers.figures_at", figures_at)
    workers = Workers(settings_of(tmp_path), [Child("data", {}, 1, 1)])
    first = asyncio.create_task(workers.ask())
    second = asyncio.create_task(workers.ask())
    for _ in range(10):
        await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(first, second)
    assert next(iter(workers.collect())).samples[0].value == 8


@pytest.mark.parametrize("plane", [Planes.ALL, Planes.DATA])
def test_without_redis_there_is_one(tmp_path: Path, plane: Planes) -> None:
    url, control = Hidden("redis://redis.example"), "127.0.0.1:9300"
    two = settings_of(tmp_path, workers=2, control_url=control, key_pepper=Hidden("p" * 32))
    with pytest.raises(StartRefused, match=r"^PDP_WORKERS: .* needs PDP_REDIS_URL"):
        check_settings(two, plane)
    check_settings(two, Planes.CONTROL)
    check_settings(replace(two, redis_url=url), plane)
