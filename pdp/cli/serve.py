"""`pdp serve`: start the planes and keep them running."""

import asyncio
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import structlog
import typer

from pdp.errors import StartRefused
from pdp.pepper import has_own_pepper
from pdp.serve.logs import configure_logging
from pdp.serve.supervisor import Plane, Supervisor
from pdp.settings import Settings, load_settings, unknown_settings

_log = structlog.get_logger(__name__)


class Planes(StrEnum):
    """Which planes run here."""

    ALL = "all"
    DATA = "data"
    CONTROL = "control"


_PLANE: dict[Planes, Plane] = {Planes.DATA: "data", Planes.CONTROL: "control"}

_Text = Annotated[str | None, typer.Option(show_default=False)]
_Number = Annotated[int | None, typer.Option(show_default=False)]


def serve(
    plane: Annotated[Planes, typer.Option(help="Which planes to run.")] = Planes.ALL,
    data_dir: _Text = None,
    database_url: _Text = None,
    redis_url: _Text = None,
    grpc_listen: _Text = None,
    http_listen: _Text = None,
    nginx_listen: _Text = None,
    ops_listen: _Text = None,
    control_listen: _Text = None,
    control_url: _Text = None,
    tls_cert: _Text = None,
    tls_key: _Text = None,
    tls_client_ca: _Text = None,
    control_tls_cert: _Text = None,
    control_tls_key: _Text = None,
    control_tls_ca: _Text = None,
    control_tls_name: _Text = None,
    workers: _Number = None,
    max_staleness: _Number = None,
    budget_status: _Number = None,
    trusted_hops: _Number = None,
) -> None:
    """Serve Check and Report until SIGTERM or Ctrl-C.

    Each option is the setting of the same name (PDP_DATA_DIR, ...). Secrets
    come from the environment or from files: a command line is for everyone to read.
    """
    options = dict(locals())
    options.pop("plane")
    run_planes(plane, options)


def run_planes(plane: Planes, options: Mapping[str, object]) -> None:
    """Run planes with the settings of the environment, and `options` in their place."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"PDP_{name.upper()}"] = str(value)
    settings = load_settings()
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
