"""The data plane's parts, made and joined."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain

import grpc
import structlog
from grpc_health.v1._async import HealthServicer
from prometheus_client import CollectorRegistry

from adapters.envoy.service import register as register_envoy
from adapters.http.ask import HttpOptions
from adapters.nginx.bounds import Bounds
from adapters.nginx.server import NginxServer
from adapters.nginx.service import NginxService
from pdp.app.core import Core, core_of
from pdp.app.inflows import Inflow, nginx_inflows
from pdp.app.leftovers import leftovers_of
from pdp.app.tls import control_target, line_tls, port_tls
from pdp.certificates import Renewed
from pdp.data.shipper import Shipper
from pdp.data.watch import Watch
from pdp.datadir import make_data_dir
from pdp.errors import StartRefused
from pdp.pepper import pepper_made
from pdp.seat import ALONE, Seat
from pdp.serve import data_plane
from pdp.serve.decision_service import DecisionService
from pdp.serve.expiry import CertificateCollector
from pdp.serve.figures import FiguresPort
from pdp.serve.http import HttpServer
from pdp.serve.metrics import DataPlaneCollector, Sources, SpoolFigures
from pdp.serve.ops import ops_app, registry_of
from pdp.serve.rpc import MeteredServer, MethodStats
from pdp.serve.sink import JournalSink
from pdp.serve.transport import bind, carrier, is_local, make_server, take_turns
from pdp.settings import Settings
from pdp.spool.journal import Journal
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

_log = structlog.get_logger(__name__)


async def run_data_plane(
    settings: Settings, stop: asyncio.Event, ready: Callable[[], None], seat: Seat = ALONE
) -> None:
    """Run a data plane until `stop`; `ready` is called once a Check can be answered.

    `seat`: which it is of several with the same settings. Raises `StartRefused` with one line
    when it cannot start as configured.
    """
    make_data_dir(settings.data_dir)
    await pepper_made(settings, stop)
    if not stop.is_set():
        await data_plane.run(join_data_plane(seat.settings(settings), seat), stop, ready)


def join_data_plane(settings: Settings, seat: Seat = ALONE) -> data_plane.Parts:
    """Make a data plane's parts and bind its ports; nothing runs yet.

    Ports that are shared are bound when it answers: others do already.
    """
    token = _grpc_token(settings)
    port = port_tls(settings)
    line = line_tls(settings, "client", *control_target(settings))
    server, opened = _grpc_server(settings, port, shared=seat.is_shared)
    address = settings.grpc_listen if seat.is_shared else opened()
    core = core_of(settings, line, seat)
    take_turns(server, core.turn)
    metered = MeteredServer(server, token)
    health = _add_services(metered, settings, core)
    data_plane.add_reflection(server)
    asked, nginx = _nginx_of(settings, core, shared=seat.is_shared)
    inflows = nginx_inflows(settings, core.engine, core.sink.durable, shared=seat.is_shared)
    carried = carrier(settings.grpc_transport)
    sources = _sources_of(core, carried, metered.methods, asked, inflows)
    ops = _ops_of(settings, seat, sources, {"grpc": port, "control": line}, core.watch)
    told = {"grpc": address, "nginx": nginx.address, "ops": ops.address}
    _log.info("data plane starting", **told, spool=core.journal.spool_id)
    return data_plane.Parts(
        server=server,
        nginx=nginx,
        health=health,
        ops=ops,
        control=core.control,
        watch=core.watch,
        engine=core.engine,
        sink=core.sink,
        shipper=core.shipper,
        keeper=core.keeper,
        tender=None if core.counting is None else core.counting.tender,
        planes_before=_planes_before(core, seat),
        load=core.load,
        inflows=inflows,
        leftovers=leftovers_of(settings, seat, core.control),
        open_port=opened if seat.is_shared else None,
    )


def _planes_before(core: Core, seat: Seat) -> int:
    """Return how many data planes have counted before where this one does; 0: none."""
    planes = 0 if core.counting is None else core.counting.planes
    has_worked = planes > 0 or core.journal.next_sequence > 0
    return max(planes, seat.of) if has_worked else 0


def _sources_of(
    core: Core,
    transport: str,
    methods: Sequence[MethodStats],
    asked: NginxService,
    inflows: Sequence[Inflow],
) -> Sources:
    return Sources(
        stats=core.stats,
        methods=methods,
        cache=core.keys.stats,
        revocation_age=core.keys.age,
        spool=partial(_spool_figures, core.journal, core.shipper, core.sink),
        transport=transport,
        late_spool_failures=lambda: core.sink.failures,
        http_checks=[asked.seconds],
        usage_lines=lambda: chain.from_iterable(each.counts() for each in inflows),
        datastore=None if core.counting is None else core.counting.stats,
        datastore_latency=None if core.counting is None else core.counting.latency,
    )


def _spool_figures(journal: Journal, shipper: Shipper, sink: JournalSink) -> SpoolFigures:
    return SpoolFigures(
        # As long as the ledger has not said what it has, that is nothing.
        records=shipper.backlog if shipper.placed.is_set() else journal.records,
        refusals=shipper.refusals,
        bytes=journal.size,
        max_bytes=journal.room.max_bytes,
        waiting=sink.waiting,
        skipped=sink.skipped,
    )


def _grpc_server(
    settings: Settings, tls: Renewed | None, *, shared: bool
) -> tuple[grpc.aio.Server, Callable[[], str]]:
    """Return the server of Check and Report, and what binds its port and tells the address."""
    server = make_server(settings.grpc_transport, shared=shared)
    address = settings.grpc_listen
    return server, partial(bind, server, address, "PDP_GRPC_LISTEN", tls, shared=shared)


def _add_services(server: MeteredServer, settings: Settings, core: Core) -> HealthServicer:
    """Add what callers can call; return the health of it all."""
    health = data_plane.add_health(server)
    service = DecisionService(core.engine, core.stats, core.load)
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(service, server)
    server.offer(data_plane.DECISION_SERVICE, "Check", service.check_now)
    options = _http_options(settings, "envoy")
    register_envoy(server, core.engine, options, settings.default_output_tokens, core.load)
    return health


def _http_options(settings: Settings, adapter: str) -> HttpOptions:
    strict = settings.estimate == "strict"
    return HttpOptions(adapter, settings.trusted_hops, strict_estimate=strict)


def _nginx_of(settings: Settings, core: Core, *, shared: bool) -> tuple[NginxService, NginxServer]:
    options = _http_options(settings, "nginx")
    token = _nginx_token(settings)
    asked = NginxService(core.engine, options, settings.default_output_tokens, core.load, token)
    bounds = Bounds(settings.nginx_max_body)
    return asked, NginxServer(settings.nginx_listen, asked, bounds, shared=shared)


def _ops_of(
    settings: Settings,
    seat: Seat,
    sources: Sources,
    certificates: Mapping[str, Renewed | None],
    watch: Watch,
) -> HttpServer | FiguresPort:
    registry = registry_of([DataPlaneCollector(sources), CertificateCollector(certificates)])
    if seat.is_shared:  # The supervisor has the port, and asks here.
        return FiguresPort(registry, seat.figures(settings))

    def unready() -> str:
        return "" if watch.ready.is_set() else "the control plane has not been reached yet"

    async def collected() -> CollectorRegistry:
        return registry

    return HttpServer(ops_app(collected, unready), settings.ops_listen, "PDP_OPS_LISTEN")


def _grpc_token(settings: Settings) -> str | None:
    """Return what callers of the gRPC port must present: nothing on loopback.

    Nothing either where they must show a certificate to come so far.
    """
    if settings.tls_client_ca is not None:
        return None
    if settings.caller_token is not None:
        return settings.caller_token.reveal()
    if is_local(settings.grpc_listen):
        return None
    raise StartRefused(
        "PDP_CALLER_TOKEN: needed because PDP_GRPC_LISTEN is not a loopback address or unix "
        "socket: set a long random text, and give it to the proxy, or set PDP_TLS_CLIENT_CA, "
        "and give the proxy a certificate"
    )


def _nginx_token(settings: Settings) -> str | None:
    """Return what NGINX must present: nothing on loopback."""
    if settings.caller_token is not None:
        return settings.caller_token.reveal()
    if is_local(settings.nginx_listen):
        return None
    raise StartRefused(
        "PDP_CALLER_TOKEN: needed because PDP_NGINX_LISTEN is not a loopback address or unix "
        "socket: set a long random text, and give it to NGINX"
    )
