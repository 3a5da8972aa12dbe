"""`pdp serve`: start the planes and keep them running."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from tempfile import TemporaryDirectory
from typing import Annotated

import structlog
import typer

from pdp.cli import serve_options as of
from pdp.errors import StartRefused
from pdp.pepper import has_own_pepper
from pdp.serve.logs import configure_logging
from pdp.serve.supervisor import Plane, Supervisor
from pdp.settings import Settings, load_settings, unknown_settings
from pdp.temporary import short_folder

_log = structlog.get_logger(__name__)


class Planes(StrEnum):
    """Which planes run here."""

    ALL = "all"
    DATA = "data"
    CONTROL = "control"


_LONGEST = 107
"""Bytes that the path of a unix socket may have."""

_PLANE: dict[Planes, Plane] = {Planes.DATA: "data", Planes.CONTROL: "control"}


def serve(
    plane: Annotated[
        Planes, typer.Option(help="`data` is the sidecar, `control` has the database and the keys.")
    ] = Planes.ALL,
    data_dir: of.DataDir = None,
    database_url: of.DatabaseUrl = None,
    redis_url: of.RedisUrl = None,
    grpc_listen: of.GrpcListen = None,
    http_listen: of.HttpListen = None,
    nginx_listen: of.NginxListen = None,
    ops_listen: of.OpsListen = None,
    control_listen: of.ControlListen = None,
    control_url: of.ControlUrl = None,
    tls_cert: of.TlsCert = None,
    tls_key: of.TlsKey = None,
    tls_client_ca: of.TlsClientCa = None,
    control_tls_cert: of.ControlTlsCert = None,
    control_tls_key: of.ControlTlsKey = None,
    control_tls_ca: of.ControlTlsCa = None,
    control_tls_name: of.ControlTlsName = None,
    workers: of.Workers = None,
    max_staleness: of.MaxStaleness = None,
    budget_status: of.BudgetStatus = None,
    trusted_hops: of.TrustedHops = None,
    http_trusted_hops: of.HttpTrustedHops = None,
    key_pepper: of.KeyPepper = None,
) -> None:
    """Serve Check and Report until SIGTERM or Ctrl-C.

    Each option goes before the variable that stands in brackets. The other settings are
    variables alone: docs/settings.md. Secrets belong into variables or files, for everyone
    on the machine can read a command line.
    """
    options = dict(locals())
    options.pop("plane")
    run_planes(plane, options)


def run_planes(plane: Planes, options: Mapping[str, object]) -> None:
    """Run planes with the settings of the environment, and `options` in their place."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"PDP_{name.upper()}"] = str(value)
    with _meeting_place(load_settings(), plane):
        _run(load_settings(), plane)


@contextmanager
def _meeting_place(settings: Settings, plane: Planes) -> Iterator[None]:
    """Have the planes meet elsewhere while they run if the data dir's name is too long for it."""
    path = os.fsencode(settings.control_address.removeprefix("unix:"))
    if plane is not Planes.ALL or settings.control_listen is not None or len(path) <= _LONGEST:
        yield
        return
    with TemporaryDirectory(prefix="pdp-", dir=short_folder()) as folder:
        os.environ["PDP_CONTROL_LISTEN"] = f"unix:{folder}/control.sock"
        yield


def _run(settings: Settings, plane: Planes) -> None:
    check_settings(settings, plane)
    configure_logging(settings.log_level, "supervisor")
    for name in unknown_settings():
        _log.warning("unknown setting, is it misspelt?", setting=name)
    planes: list[Plane] = ["control", "data"] if plane is Planes.ALL else [_PLANE[plane]]
    where: dict[str, object] = {"grpc": settings.grpc_listen, "ops": settings.ops_listen}
    if plane is Planes.CONTROL:
        where = {"control": settings.control_address}
    if plane is not Planes.DATA:
        where["http"] = settings.http_listen
    if settings.workers == 1 or plane is Planes.CONTROL:
        asyncio.run(Supervisor(planes, os.environ).run(where))
        return
    from pdp.app.workers import ops_of, ports_claimed  # 20 MB, for several alone

    supervisor = Supervisor(planes, os.environ, settings.workers)
    where["workers"] = settings.workers
    with ports_claimed(settings):
        asyncio.run(supervisor.run(where, [ops_of(settings, supervisor.workers)]))


def check_settings(settings: Settings, plane: Planes) -> None:
    """Refuse what the settings say together but cannot be."""
    if settings.workers > 1 and plane is not Planes.CONTROL and settings.redis_url is None:
        raise StartRefused(
            "PDP_WORKERS: more than one data-plane process needs PDP_REDIS_URL: each would "
            "count in its own memory and allow the whole budget: set it, or use 1"
        )
    if plane is Planes.DATA and not settings.control_url:
        raise StartRefused("PDP_CONTROL_URL: `--plane data` needs the control plane's address")
    if plane is Planes.DATA and settings.key_pepper is None and not has_own_pepper(settings):
        raise StartRefused("PDP_KEY_PEPPER: `--plane data` needs the control plane's pepper")
