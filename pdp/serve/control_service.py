"""ControlService: the internal RPCs over the use cases; errors become status codes here."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import msgspec
import structlog

from pdp.control.attendance import IN_MEMORY, UNSAID, Attendance
from pdp.control.change_feed import ChangeFeed
from pdp.control.ingest import ingest
from pdp.control.price_feed import PriceFeed
from pdp.control.resolve import Resolver
from pdp.control.spend import settled_among, spend_below
from pdp.errors import Conflict, Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.quota.hold import Hold
from pdp.store.database import Database

_log = structlog.get_logger(__name__)


class ControlService:
    """The servicer; it translates and nothing else."""

    def __init__(
        self,
        database: Database,
        feed: ChangeFeed,
        prices: PriceFeed,
        fingerprint: str,
        attendance: Attendance,
    ) -> None:
        self._database = database
        self._feed = feed
        self._prices = prices
        self._fingerprint = fingerprint
        self._resolver = Resolver(database)
        self._attendance = attendance
        self._leaving: set[asyncio.Task[None]] = set()

    async def ResolveKey(self, request: Any, context: Any) -> pb.ResolveKeyResponse:  # noqa: N802
        """Return a key with its chains."""
        name = request.secret_hash if request.HasField("secret_hash") else request.key_id
        try:
            revision, found = await self._resolver.resolve(name)
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Conflict as error:
            _log.error("key cannot be resolved", key_id=request.key_id, reason=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return pb.ResolveKeyResponse(
            revision=revision,
            found=found is not None,
            resolved_json=b"" if found is None else msgspec.json.encode(found),
        )

    async def WatchChanges(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.WatchChangesResponse]:
        """Stream changes and heartbeats."""
        if request.pepper_fingerprint != self._fingerprint:
            _log.error("data plane with another pepper refused", data_plane=request.data_plane_id)
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "PDP_KEY_PEPPER: not the control plane's: no key would be known; set the same one",
            )
        await self._enter(request, context)
        try:
            async for found in self._feed.watch(request.after_revision):
                yield pb.WatchChangesResponse(
                    revision=found.revision,
                    key_ids=found.key_ids,
                    secret_hashes=found.secret_hashes,
                    reset=not found.complete,
                    prices_revision=self._prices.current.revision,
                    counts_apart=request.data_plane_id in self._attendance.apart,
                )
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def _enter(self, request: Any, context: Any) -> None:
        name = request.data_plane_id
        unsaid = UNSAID if request.shares_counters else IN_MEMORY
        try:
            counters = request.counters or unsaid
            far = is_far(context.peer())
            await self._attendance.enter(name, counters, life=request.life, is_far=far)
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Conflict as error:
            _log.error("data plane refused", data_plane=name, reason=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

        def left(_: Any) -> None:
            leaving = asyncio.create_task(self._attendance.leave(name))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

        # Not at the end of the stream's generator: that is closed when somebody collects it.
        context.add_done_callback(left)

    async def Ingest(self, request: Any, context: Any) -> pb.IngestResponse:  # noqa: N802
        """Take spool records into the ledger."""
        try:
            # Nor is a copy told its place, which moves on under it.
            await self._attendance.no_copy(request.spool_id, request.life)
            following = await ingest(
                self._database, request.spool_id, request.first_sequence, request.records
            )
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Conflict as error:
            _log.error("spool records refused", spool=request.spool_id, reason=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return pb.IngestResponse(next_sequence=following)

    async def ListSpend(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[pb.ListSpendResponse]:
        """Stream the sums of an organization, and what is held of it."""
        now = time.time_ns() // 1_000_000_000
        try:
            async for lot in spend_below(self._database, request.root_key_id, now):
                if isinstance(lot, Mapping):
                    yield pb.ListSpendResponse(spools=lot)
                elif lot and isinstance(lot[0], Hold):
                    yield pb.ListSpendResponse(holds=msgspec.msgpack.encode(lot))
                else:
                    yield pb.ListSpendResponse(rows=msgspec.msgpack.encode(lot))
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    async def ListSettled(self, request: Any, context: Any) -> pb.ListSettledResponse:  # noqa: N802
        """Return the decisions whose outcome is known."""
        try:
            found = await settled_among(self._database, list(request.decision_ids))
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return pb.ListSettledResponse(decision_ids=found)

    async def GetPrices(self, _request: Any, _context: Any) -> pb.GetPricesResponse:  # noqa: N802
        """Return the price table."""
        prices = self._prices.current
        return pb.GetPricesResponse(revision=prices.revision, prices_json=prices.json)


def is_far(peer: str) -> bool:
    """Tell whether a caller, as gRPC names it, is on another machine.

    When a process of this one ends, its lines end at once.
    """
    return not peer.startswith(("unix:", "ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))
