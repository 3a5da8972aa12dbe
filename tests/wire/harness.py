"""An engine behind a real gRPC server, with time, keys and prices in the test's hands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from pdp.certificates import Renewed, port_files, wall_clock
from pdp.compile import Compiler
from pdp.counters.memory import MemoryCounters
from pdp.engine import Engine
from pdp.ids import IdSource
from pdp.key import CompiledKey
from pdp.model import KeyRecord, Resolved
from pdp.options import Options
from pdp.quota.price import Price, Rates
from pdp.records import Record
from pdp.serve import data_plane
from pdp.serve.decision_service import DecisionService
from pdp.serve.load import Load
from pdp.serve.rpc import MeteredServer, MethodStats
from pdp.serve.transport import Transport, bind, make_server
from pdp.settings import Settings
from pdp.stats import Stats
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.pki import Shown

NOON = 1_795_435_200 * 1_000_000_000
"""2026-11-23T12:00:00Z."""

USD = 1_000_000_000

TRANSPORTS: tuple[Transport, ...] = ("native", "grpcio")


def chain_of(records: dict[str, KeyRecord], leaf: str, field: str) -> tuple[str, ...]:
    """Follow `parent_key_id` or `granted_by` from a leaf to the root."""
    chain: list[str] = []
    key_id = leaf
    while key_id:
        chain.append(key_id)
        key_id = getattr(records[key_id], field)
    return tuple(chain)


class Keys:
    """A `KeySource` over records; the raw key of a record is its id."""

    def __init__(self, *records: KeyRecord, timezone: str = "UTC") -> None:
        self.records = {record.id: record for record in records}
        self.timezone = timezone
        self._compiler = Compiler()
        self._compiled: dict[str, CompiledKey] = {}

    def lookup(self, api_key: str) -> CompiledKey | None:
        return self.by_id(api_key)

    def by_id(self, key_id: str) -> CompiledKey | None:
        if key_id not in self.records:
            return None
        if key_id not in self._compiled:
            self._compiled[key_id] = self._compiler.compile(self._resolved(key_id))
        return self._compiled[key_id]

    def _resolved(self, key_id: str) -> Resolved:
        parents = chain_of(self.records, key_id, "parent_key_id")
        granters = chain_of(self.records, key_id, "granted_by")
        return Resolved(
            key_id=key_id,
            parents=parents,
            granters=granters,
            records=tuple(self.records[each] for each in dict.fromkeys((*parents, *granters))),
            timezone=self.timezone,
            revision=7,
        )


class FixedPrices:
    """1 USD per million prompt tokens, 2 for completion, 0.5 cached; `free-*` unknown."""

    def knows(self, provider: str) -> bool:
        return provider in ("openai", "anthropic")

    def provider_of(self, model: str) -> str:
        if model.startswith("claude"):
            return "anthropic"
        return "openai" if model.startswith("gpt") else "unknown"

    def price(self, model: str, provider: str) -> Price | None:
        if provider == "unknown":
            return None
        return Price(Rates(prompt=1 * USD, completion=2 * USD, cached=USD // 2))

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        return self.price(model, provider)


class ListSink:
    """Keeps records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.owing = False

    def append(self, record: Record) -> None:
        self.records.append(record)


class Clock:
    """A clock that stands until the test moves it."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Desk:
    """An engine with all its parts within reach."""

    def __init__(
        self,
        *records: KeyRecord,
        options: Options | None = None,
        keys: Any = None,
        counters: Any = None,
        sink: Any = None,
        prices: Any = None,
        boot: str = "test",
    ) -> None:
        self.clock = Clock()
        self.keys = Keys(*records) if keys is None else keys  # An empty cache is false.
        self.counters = counters or MemoryCounters()
        self.sink = sink or ListSink()
        self.stats = Stats()
        self.load = Load()
        self.methods: list[MethodStats] = []
        self.engine = Engine(
            keys=self.keys,
            counters=self.counters,
            prices=prices or FixedPrices(),
            sink=self.sink,
            clock=self.clock,
            ids=IdSource(boot),
            options=options or Options(),
            stats=self.stats,
        )


@asynccontextmanager
async def serving(
    desk: Desk, transport: Transport, folder: Path, caller_token: str | None = None
) -> AsyncIterator[pb_grpc.PolicyDecisionServiceStub]:
    """Serve a desk's engine on a unix socket; give a client's stub."""
    server = make_server(transport)
    address = bind(server, f"unix:{folder}/pdp.sock", "PDP_GRPC_LISTEN")
    service = DecisionService(desk.engine, desk.stats, desk.load)
    metered = MeteredServer(server, caller_token)
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(service, metered)
    metered.offer("pdp.v1.PolicyDecisionService", "Check", service.check_now)
    desk.methods = metered.methods
    await server.start()
    try:
        async with grpc.aio.insecure_channel(
            address, options=(("grpc.use_local_subchannel_pool", 1),)
        ) as channel:
            yield pb_grpc.PolicyDecisionServiceStub(channel)
    finally:
        await server.stop(None)


@asynccontextmanager
async def secured(
    transport: Transport,
    shown: Shown,
    client_ca: Path | None,
    token: str | None,
    listen: str = "127.0.0.1:0",
    keys: Any = None,
    grace: float | None = None,
) -> AsyncIterator[str]:
    """Serve Check and health with TLS, for the key `root` or others; give the address."""
    files = port_files(Settings(tls_cert=shown.cert, tls_key=shown.key, tls_client_ca=client_ca))
    assert files is not None
    server = make_server(transport)
    address = bind(server, listen, "PDP_GRPC_LISTEN", Renewed(files, wall_clock))
    desk = Desk(record("root"), keys=keys)
    metered = MeteredServer(server, token)
    data_plane.add_health(metered)
    service = DecisionService(desk.engine, desk.stats, desk.load)
    pb_grpc.add_PolicyDecisionServiceServicer_to_server(service, metered)
    metered.offer("pdp.v1.PolicyDecisionService", "Check", service.check_now)
    await server.start()
    try:
        yield address
    finally:
        await server.stop(grace)


def record(id_: str, **fields: Any) -> KeyRecord:
    """Return a key record with the least that it needs."""
    return KeyRecord(
        **{"id": id_, "name": id_.title(), "version": 1, "organization_id": "org", **fields}
    )
