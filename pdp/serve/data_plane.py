"""The data plane as a process: what runs, in which order it starts and stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import grpc
import structlog
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from msgspec import Struct

from pdp.data.control import ControlClient
from pdp.data.shipper import Shipper
from pdp.data.watch import Watch
from pdp.engine import Engine
from pdp.errors import SpoolFailed, StartRefused, Unavailable
from pdp.serve.background import every, run_until
from pdp.serve.load import Load
from pdp.serve.rpc import MeteredServer
from pdp.serve.sink import JournalSink
from pdp.spool.keeper import SpoolKeeper

_log = structlog.get_logger(__name__)

_SWEEP_INTERVAL = 1.0
_SWEEP_SHARE = 0.25
"""Of a turn's time. That a hold runs out takes 15 us, a Check over the wire 87."""

_KEEP_INTERVAL = 1.0
_TEND_INTERVAL = 0.1
_DATASTORE_PATIENCE = 2.0
_GRACE = 1.0
"""Seconds: a Check takes milliseconds, and access log streams never end by themselves."""

_DRAIN_DEADLINE = 5.0

_PLACE_DEADLINE = 2.0
"""Seconds in which the control plane, started beside this one, most often answers."""

DECISION_SERVICE = "pdp.v1.PolicyDecisionService"


class Tended(Protocol):
    """House-keeping of counters that are elsewhere."""

    async def start(self, patience: float, planes: int) -> None:
        """See within `patience` seconds that they are there; raises `StartRefused`.

        Not where some `planes` have counted there before: they come back.
        """
        ...

    async def tend(self) -> None:
        """Do what is due."""
        ...

    def told_apart(self, is_apart: bool | None) -> None:
        """Hear whether others have counters elsewhere; None: nobody tells."""
        ...

    def needed(self) -> int:
        """Return the number of the first record of the spool that they may still need."""
        ...

    async def close(self) -> None:
        """Let go of them."""
        ...


class OpsPort(Protocol):
    """Where it says how it does."""

    def start(self) -> None:
        """Answer in the background."""
        ...

    async def stop(self) -> None:
        """Close."""
        ...


class HttpPort(Protocol):
    """A port that an adapter answers on."""

    async def start(self) -> None:
        """Answer."""
        ...

    async def watch(self) -> None:
        """Look after its connections until cancelled."""
        ...

    async def stop(self) -> None:
        """Answer what is there, and close."""
        ...


class Inflow(Protocol):
    """A way by which reports come that nobody calls."""

    async def run(self) -> None:
        """Take reports until cancelled."""
        ...

    async def finish(self) -> None:
        """Take what is there already, and close. Call when `run` has ended."""
        ...


class Parts(Struct, frozen=True):
    """Everything that runs in a data plane, already joined."""

    server: grpc.aio.Server
    nginx: HttpPort
    health: health_aio.HealthServicer
    ops: OpsPort
    control: ControlClient
    watch: Watch
    engine: Engine
    sink: JournalSink
    shipper: Shipper
    keeper: SpoolKeeper
    load: Load
    inflows: Sequence[Inflow] = ()
    tender: Tended | None = None
    """Of counters that are elsewhere."""
    planes_before: int = 0
    """How many data planes have counted before where this one does, it or one beside it."""
    leftovers: Sequence[Callable[[], Awaitable[None]]] = ()
    """What is to be done once, for others that are no more."""
    open_port: Callable[[], str] | None = None
    """Binds the port of `server`, unless it is."""


def add_health(server: MeteredServer) -> health_aio.HealthServicer:
    """Add the health service, NOT_SERVING until `run` says otherwise."""
    servicer = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return servicer


def add_reflection(server: Any) -> None:
    """Add reflection of the public services."""
    names = (DECISION_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


async def run(parts: Parts, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Serve until `stop`; then answer what is in flight and ship what is in the spool."""
    await _set_health(parts, serving=False)
    parts.ops.start()
    try:
        if parts.tender is not None:
            await parts.tender.start(_DATASTORE_PATIENCE, parts.planes_before)
        await run_until(
            stop,
            _serve(parts),
            parts.shipper.run(),
            parts.sink.sync_forever(),
            parts.load.watch(),
            parts.nginx.watch(),
            _after_placed(parts, parts.watch.run),
            _after_placed(parts, partial(every, _SWEEP_INTERVAL, partial(sweep, parts.engine))),
            every(_KEEP_INTERVAL, parts.keeper.keep),
            _clear_up(parts),
            *(
                ()
                if parts.tender is None
                else (_after_placed(parts, partial(every, _TEND_INTERVAL, parts.tender.tend)),)
            ),
            _announce(parts, ready),
        )
    finally:
        await _stop(parts)


async def _serve(parts: Parts) -> None:
    """Answer calls, once the ledger has said that the spool is no old copy.

    Where nobody answers that soon, from the spool alone: reports are taken, no key is known.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_PLACE_DEADLINE):
            await parts.shipper.placed.wait()
    if parts.open_port is not None:
        parts.open_port()
    await parts.server.start()
    await parts.nginx.start()
    await asyncio.gather(asyncio.Event().wait(), *(each.run() for each in parts.inflows))


async def _clear_up(parts: Parts) -> None:
    # Beside each other: one that the ledger refuses must not keep the next from it.
    await asyncio.gather(*(leftover() for leftover in parts.leftovers))
    await asyncio.Event().wait()


async def _after_placed(parts: Parts, work: Callable[[], Awaitable[None]]) -> None:
    """Do what an old copy of a spool must not do: allow requests, let holds run out."""
    await parts.shipper.placed.wait()
    await work()


async def sweep(engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
    """Let holds run out; between two lots of them Checks are answered.

    Under load a turn of the loop takes long. One lot in each would let holds run out more
    slowly than they come, and memory grow: so it takes lots for a part of what a turn took.
    """
    turn = 0.0
    more = True
    while more:
        began = clock()
        more = await engine.expire()
        while more and clock() - began < turn * _SWEEP_SHARE:
            more = await engine.expire()
        ended = clock()
        await asyncio.sleep(0)
        turn = clock() - ended


async def _announce(parts: Parts, ready: Callable[[], None]) -> None:
    await parts.watch.ready.wait()
    await _set_health(parts, serving=True)
    ready()
    await asyncio.Event().wait()


async def _set_health(parts: Parts, *, serving: bool) -> None:
    status = health_pb2.HealthCheckResponse
    value = status.SERVING if serving else status.NOT_SERVING
    for service in ("", DECISION_SERVICE):
        await parts.health.set(service, value)


async def _stop(parts: Parts) -> None:
    await _set_health(parts, serving=False)
    await asyncio.gather(parts.server.stop(_GRACE), parts.nginx.stop())
    for each in parts.inflows:
        await each.finish()
    await _drain(parts)
    if parts.tender is not None:
        await parts.tender.close()
    try:
        parts.keeper.close()
    except SpoolFailed as error:
        _log.warning("no checkpoint, the next start replays", error=str(error))
    await parts.ops.stop()
    await parts.control.close()


async def _drain(parts: Parts) -> None:
    """Ship what is in the spool, as far as that goes: the next start ships the rest."""
    try:
        await parts.sink.pay()
        await parts.keeper.sync()
        async with asyncio.timeout(_DRAIN_DEADLINE):
            await parts.shipper.drain()
    except StartRefused as error:
        _log.error("stopping with a spool that must not start again", reason=str(error))
    except (Unavailable, TimeoutError):
        if parts.shipper.backlog:
            _log.warning("stopping with records in the spool", records=parts.shipper.backlog)
