"""The data plane's parts, made and joined."""

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial
from itertools import chain

import grpc
import structlog
from grpc_health.v1._async import HealthServicer
from prometheus_client.registry import Collector

from adapters.envoy.service import register as register_envoy
from adapters.http.ask import HttpOptions
from adapters.nginx.bounds import Bounds
from adapters.nginx.server import NginxServer
from adapters.nginx.service import NginxService
from pdp.app.counters import counters_of
from pdp.app.inflows import nginx_inflows
from pdp.app.tls import control_target, line_tls, port_tls
from pdp.certificates import Renewed
from pdp.data.control import ControlClient
from pdp.data.keycache import KeyCache
from pdp.data.price_file import PriceFile
from pdp.data.shipper import Shipper
from pdp.data.watch import Watch
from pdp.datadir import make_data_dir
from pdp.engine import Engine
from pdp.errors import StartRefused
from pdp.ids import IdSource
from pdp.pepper import load_pepper, pepper_made
from pdp.secret import fingerprint_of, hash_secret
from pdp.serve import data_plane
from pdp.serve.decision_service import DecisionService
from pdp.serve.expiry import CertificateCollector
from pdp.serve.http import HttpServer
from pdp.serve.load import Load
from pdp.serve.metrics import DataPlaneCollector, Sources, SpoolFigures
from pdp.serve.ops import ops_app
from pdp.serve.rpc import MeteredServer
from pdp.serve.sink import JournalSink
from pdp.serve.transport import bind, bracket, carrier, is_local, make_server
from pdp.settings import Settings, engine_options
from pdp.spool.journal import Journal
from pdp.spool.recover import recover
from pdp.stats import Stats
from pdp.tls import server_credentials
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

_log = structlog.get_logger(__name__)

_SECOND = 1_000_000_000
_UNKNOWN_KEYS = 10_000
_PREDECESSOR_DIES = 5.0
"""Seconds that a killed data plane may take to let its spool go."""


async def run_data_plane(
    settings: Settings, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Run a data plane until `stop`; `ready` is called once a Check can be answered.

    Raises `StartRefused` with one line when it cannot start as configured.
    """
    make_data_dir(settings.data_dir)
    await pepper_made(settings, stop)
    if not stop.is_set():
        await data_plane.run(join_data_plane(settings), stop, ready)


def join_data_plane(settings: Settings) -> data_plane.Parts:
    """Make a data plane's parts and bind its ports; nothing runs yet."""
    token = _grpc_token(settings)
    port = port_tls(settings)
    line = line_tls(settings, "client", *control_target(settings))
    control, keys = _line_of(settings, line)
    server, address = _grpc_server(settings, port)
    recovered, journal = recover(
        settings.spool_dir,
        new_spool_id=secrets.token_hex(8),
        now=time.time_ns(),
        wait=_PREDECESSOR_DIES,
        max_bytes=settings.spool_max_bytes,
    )
    counters, counting, keeper = counters_of(settings, control, keys, recovered, journal)
    kept = PriceFile(settings.spool_dir / "prices.json")
    watch = Watch(control, keys, journal.spool_id, clock=time.time_ns, kept=kept)
    sink = JournalSink(journal)
    bracket(server, sink.begin, sink.end)
    shipper = Shipper(journal, control)
    stats = Stats()
    engine = Engine(
        keys=keys,
        counters=counters,
        prices=watch.prices,
        sink=sink,
        clock=time.time_ns,
        ids=IdSource(secrets.token_hex(5)),
        options=engine_options(settings),
        stats=stats,
    )
    metered = MeteredServer(server, token)
    load = Load()
    health = _add_services(metered, settings, engine, stats, load)
    asked = _nginx_service(settings, engine, load)
    nginx = NginxServer(settings.nginx_listen, asked, Bounds(settings.nginx_max_body))
    data_plane.add_reflection(server)
    inflows = nginx_inflows(settings, engine, sink.durable)
    sources = Sources(
        stats=stats,
        methods=metered.methods,
        cache=keys.stats,
        revocation_age=keys.age,
        spool=partial(_spool_figures, journal, shipper, sink),
        transport=carrier(settings.grpc_transport, tls=port is not None),
        late_spool_failures=lambda: sink.failures,
        http_checks=[asked.seconds],
        usage_lines=lambda: chain.from_iterable(each.counts() for each in inflows),
        datastore=None if counting is None else counting.stats,
        datastore_latency=None if counting is None else counting.latency,
    )
    certificates = CertificateCollector({"grpc": port, "control": line})
    ops = _ops_of(settings, [DataPlaneCollector(sources), certificates], watch)
    _log.info(
        "data plane starting",
        grpc=address,
        nginx=nginx.address,
        ops=ops.address,
        spool=journal.spool_id,
    )
    return data_plane.Parts(
        server=server,
        nginx=nginx,
        health=health,
        ops=ops,
        control=control,
        watch=watch,
        engine=engine,
        sink=sink,
        shipper=shipper,
        keeper=keeper,
        tender=None if counting is None else counting.tender,
        has_worked=journal.next_sequence > 0,
        load=load,
        inflows=inflows,
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


def _grpc_server(settings: Settings, tls: Renewed | None) -> tuple[grpc.aio.Server, str]:
    """Return the server of Check and Report, bound to its port, and the address of that."""
    server = make_server(settings.grpc_transport, tls=tls is not None)
    credentials = None if tls is None else server_credentials(tls)
    return server, bind(server, settings.grpc_listen, "PDP_GRPC_LISTEN", credentials)


def _line_of(settings: Settings, tls: Renewed | None) -> tuple[ControlClient, KeyCache]:
    """Return the line to the control plane, and the keys that come over it."""
    pepper = load_pepper(settings)
    target, _ = control_target(settings)
    control = ControlClient(
        target, fingerprint_of(pepper), tls=tls, server_name=settings.control_tls_name
    )
    keys = KeyCache(
        control,
        partial(hash_secret, pepper=pepper),
        clock=time.monotonic_ns,
        size=settings.key_cache_size,
        unknown_size=_UNKNOWN_KEYS,
        max_staleness=int(settings.max_staleness * _SECOND),
    )
    return control, keys


def _add_services(
    server: MeteredServer, settings: Settings, engine: Engine, stats: Stats, load: Load
) -> HealthServicer:
    """Add what callers can call; return the health of it all."""
    health = data_plane.add_health(server)
    service = DecisionService(engine, stats, load)
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(service, server)
    server.offer(data_plane.DECISION_SERVICE, "Check", service.check_now)
    options = _http_options(settings, "envoy")
    register_envoy(server, engine, options, settings.default_output_tokens, load)
    return health


def _http_options(settings: Settings, adapter: str) -> HttpOptions:
    strict = settings.estimate == "strict"
    return HttpOptions(adapter, settings.trusted_hops, strict_estimate=strict)


def _nginx_service(settings: Settings, engine: Engine, load: Load) -> NginxService:
    options = _http_options(settings, "nginx")
    token = _nginx_token(settings)
    return NginxService(engine, options, settings.default_output_tokens, load, token)


def _ops_of(settings: Settings, collectors: list[Collector], watch: Watch) -> HttpServer:
    def unready() -> str:
        return "" if watch.ready.is_set() else "the control plane has not been reached yet"

    app = ops_app(collectors, unready)
    return HttpServer(app, settings.ops_listen, "PDP_OPS_LISTEN")


def _grpc_token(settings: Settings) -> str | None:
    """Return what callers of the gRPC port must present: nothing on loopback.

    Nothing either where they must show a certificate to come so far.
    """
    if settings.tls_client_ca is not None:
        return None
    if settings.caller_token is not None:
        return settings.caller_token.get_secret_value()
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
        return settings.caller_token.get_secret_value()
    if is_local(settings.nginx_listen):
        return None
    raise StartRefused(
        "PDP_CALLER_TOKEN: needed because PDP_NGINX_LISTEN is not a loopback address or unix "
        "socket: set a long random text, and give it to NGINX"
    )
