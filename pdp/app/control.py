"""The control plane's parts, made and joined."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import structlog

from pdp.app.tls import line_tls
from pdp.control.attendance import Attendance
from pdp.control.change_feed import ChangeFeed
from pdp.control.current_prices import CurrentPrices
from pdp.control.plane import open_control
from pdp.control.price_feed import PriceFeed
from pdp.control.price_overrides import Override, load_overrides
from pdp.control.registry import Registry
from pdp.control.retention import SWEEP_INTERVAL, Retention
from pdp.control.simulation import Rules
from pdp.datadir import make_data_dir
from pdp.ids import IdSource
from pdp.internal.v1 import control_pb2_grpc
from pdp.keepalive import keepalive_options
from pdp.rest.app import Shell, rest_app
from pdp.secret import fingerprint_of
from pdp.serve import control_plane
from pdp.serve.background import every
from pdp.serve.control_service import ControlService
from pdp.serve.http import HttpServer
from pdp.serve.logs import log_defect
from pdp.serve.transport import bind, make_server
from pdp.settings import Settings, engine_options
from pdp.store.database import Database
from pdp.store.organizations import get_organization

_log = structlog.get_logger(__name__)


async def run_control_plane(
    settings: Settings, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Run a control plane until `stop`; `ready` is called once it answers.

    Raises `StartRefused` with one line when it cannot start as configured.
    """
    tls = line_tls(settings, "server", settings.control_address, "PDP_CONTROL_LISTEN")
    if settings.control_listen is None:
        make_data_dir(settings.data_dir)  # On PostgreSQL nobody else needs it.
    overrides = load_overrides(settings.prices_file) if settings.prices_file else ()
    async with open_control(settings) as plane:
        await _warn_if_empty(plane.database)
        server = make_server(
            "grpcio", max_message=control_plane.MAX_MESSAGE, more=keepalive_options()
        )
        address = bind(server, settings.control_address, "PDP_CONTROL_LISTEN", tls)
        feed = ChangeFeed(plane.database)
        prices = PriceFeed(overrides, partial(datetime.now, UTC), plane.prices, feed)
        await prices.read()
        fingerprint, registry = fingerprint_of(plane.pepper), registry_of(settings, plane.database)
        attendance = Attendance(registry)
        service = ControlService(plane.database, feed, prices, fingerprint, attendance)
        control_pb2_grpc.add_ControlServiceServicer_to_server(service, server)
        rest = HttpServer(
            rest_app(plane, _shell(settings, prices, overrides)),
            settings.http_listen,
            "PDP_HTTP_LISTEN",
        )
        _log.info("control plane starting", control=address, tls=tls is not None, http=rest.address)
        loops = loops_of(settings, plane.database, attendance)
        if registry is not None:
            loops.append(registry.run())
        await control_plane.run(server, rest, feed, prices, stop, ready, *loops)


async def _warn_if_empty(database: Database) -> None:
    async with database.reading() as connection:
        found = await get_organization(connection, None)
    if found is None:
        _log.warning("there is no organization, and so no key: run `pdp init`")


def _shell(settings: Settings, prices: PriceFeed, overrides: Sequence[Override]) -> Shell:
    return Shell(
        clock=time.time_ns,
        new_id=IdSource(f"req-{secrets.token_hex(5)}"),
        defect=partial(log_defect, _log, "admin request failed"),
        rules=Rules(CurrentPrices(lambda: prices.current), engine_options(settings)),
        trusted_hops=settings.http_trusted_hops,
        file_prices=tuple(overrides),
    )


def registry_of(settings: Settings, database: Database) -> Registry | None:
    """Return what tells other control planes of our data planes; SQLite has one of them."""
    if settings.is_embedded:
        return None
    return Registry(database, secrets.token_hex(8), asyncio.sleep)


def loops_of(
    settings: Settings, database: Database, attendance: Attendance
) -> list[Awaitable[None]]:
    """Return what runs beside the server."""
    loops: list[Awaitable[None]] = []
    if settings.audit_retention_days is not None:
        retention = Retention(database, settings.audit_retention_days, time.time_ns, asyncio.sleep)
        loops.append(every(SWEEP_INTERVAL, retention.sweep))
    if settings.redis_url is not None:
        from pdp.app import reconcile, strangers  # noqa: PLC0415  Redis' client.

        loops.append(every(reconcile.INTERVAL, reconcile.Round(settings, database).check))
        look = strangers.Strangers(settings, attendance, time.time_ns).look
        loops.append(every(strangers.INTERVAL, look))
    return loops
