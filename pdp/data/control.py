"""The line to the control plane: resolve, watch, prices, ingest. gRPC errors end here."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import msgspec
import structlog
from msgspec import Struct

from pdp.certificates import Renewed
from pdp.data.quiet import Quiet
from pdp.errors import UNDECIDED, Refused, StartRefused, Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.internal.v1 import control_pb2_grpc as pb_grpc
from pdp.keepalive import KEEPALIVE, keepalive_options
from pdp.model import Resolved
from pdp.quota.hold import Hold
from pdp.quota.price import PriceList
from pdp.spend import Lot, SpendRow
from pdp.tls import OTHER_NAME, handshake_fault, open_channel

_log = structlog.get_logger(__name__)

_RESOLVE_DEADLINE = 1.0
_INGEST_DEADLINE = 30.0
_PRICES_DEADLINE = 10.0
_SPEND_DEADLINE = 60.0
_MAX_MESSAGE = 64 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Not between attempts, as its name says, but what an attempt may take: over a slow line, or
    # to a busy peer, TCP, TLS and HTTP/2 need several round trips.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 500),
)

_REFUSALS = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
)
"""What it answers when waiting does not help; the details are its own words."""

_resolved = msgspec.json.Decoder(Resolved)
_prices = msgspec.json.Decoder(PriceList)
_spend = msgspec.msgpack.Decoder(list[SpendRow])
_holds = msgspec.msgpack.Decoder(list[Hold])


class Change(Struct, frozen=True):
    """One message of the watch, as in `WatchChangesResponse`."""

    revision: int
    key_ids: tuple[str, ...]
    secret_hashes: tuple[bytes, ...]
    reset: bool
    prices_revision: str
    counts_apart: bool = False


class ControlClient:
    """A client of `ControlService`. Deadlines in seconds; every failure is `Unavailable`.

    It is `Refused` where the control plane has answered, and will answer the same again.
    """

    def __init__(
        self,
        target: str,
        pepper_fingerprint: str,
        *,
        tls: Renewed | None = None,
        server_name: str | None = None,
        counters: str = "",
        life: str = "",
        keepalive: float = KEEPALIVE,
    ) -> None:
        """`tls`: what is shown and believed, None: plaintext; `server_name`: as `open_channel`.

        `counters`: the Redis in which whoever watches counts, without credentials; others that
        count there may be beside it. Empty: in its memory. `life`: random text of this process.
        `keepalive`: seconds of silence.
        """
        self._pepper_fingerprint = pepper_fingerprint
        self._counters = counters
        self._life = life
        self._options = (*_OPTIONS, *keepalive_options(keepalive))
        self._quiet = Quiet()
        self._target = target
        self._tls = tls
        self._server_name = server_name
        self._watching = False
        self._closing: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        self._pems = None if self._tls is None else self._tls.pems
        self._channel = open_channel(
            self._target, self._pems, server_name=self._server_name, options=self._options
        )
        self._stub = pb_grpc.ControlServiceStub(self._channel)

    def _renew(self) -> None:
        """Where the line is broken, mend it with the certificates as they are by now.

        Calls on the old line come to their own end: cancelled, they would end their loops.
        """
        if self._tls is None or self._watching:
            return
        self._tls.renew()
        if self._pems is self._tls.pems:
            return
        closing = asyncio.create_task(self._channel.close(_INGEST_DEADLINE + 1))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._open()

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        """Return (revision, the key of a secret or None)."""
        return await self._resolve(pb.ResolveKeyRequest(secret_hash=secret_hash))

    async def by_id(self, key_id: str) -> tuple[int, Resolved | None]:
        """Return (revision, the key of an id or None)."""
        return await self._resolve(pb.ResolveKeyRequest(key_id=key_id))

    async def _resolve(self, request: pb.ResolveKeyRequest) -> tuple[int, Resolved | None]:
        try:
            answer = await self._stub.ResolveKey(request, timeout=_RESOLVE_DEADLINE)
        except grpc.aio.AioRpcError as error:
            # Who asks with a key is told what helps him; the rest is for the log.
            if self._quiet.over():
                _log.error("a key cannot be looked up", reason=str(self._unavailable(error)))
            raise Unavailable(UNDECIDED) from error
        if not answer.found:
            return answer.revision, None
        try:
            return answer.revision, _resolved.decode(answer.resolved_json)
        except msgspec.MsgspecError as error:
            if self._quiet.over():
                _log.error("a key that was looked up cannot be read", reason=str(error))
            raise Unavailable(UNDECIDED) from error

    async def watch(self, after_revision: int, data_plane_id: str) -> AsyncIterator[Change]:
        """Yield changes and heartbeats until the line breaks (`Unavailable`) or the task ends.

        Raises `StartRefused` when the control plane wants no part of this data plane.
        """
        self._renew()
        self._watching = True
        call = self._stub.WatchChanges(
            pb.WatchChangesRequest(
                after_revision=after_revision,
                data_plane_id=data_plane_id,
                pepper_fingerprint=self._pepper_fingerprint,
                shares_counters=bool(self._counters),
                counters=self._counters,
                life=self._life,
            )
        )
        try:
            async for message in call:
                yield Change(
                    message.revision,
                    tuple(message.key_ids),
                    tuple(message.secret_hashes),
                    message.reset,
                    message.prices_revision,
                    message.counts_apart,
                )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise StartRefused(error.details() or "the control plane refuses") from error
            raise self._unavailable(error) from error
        finally:
            self._watching = False
            call.cancel()

    async def prices(self) -> tuple[str, PriceList]:
        """Return (revision, the price list)."""
        try:
            answer = await self._stub.GetPrices(pb.GetPricesRequest(), timeout=_PRICES_DEADLINE)
            return answer.revision, _prices.decode(answer.prices_json)
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        except msgspec.MsgspecError as error:
            raise Unavailable("the control plane sent prices that cannot be read") from error

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        """Hand over records; return the sequence number up to which all are committed."""
        try:
            answer = await self._stub.Ingest(
                pb.IngestRequest(
                    spool_id=spool_id,
                    first_sequence=first_sequence,
                    records=records,
                    life=self._life,
                ),
                timeout=_INGEST_DEADLINE,
            )
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        following: int = answer.next_sequence
        return following

    async def list_spend(self, root_key_id: str) -> AsyncIterator[tuple[dict[str, int], Lot]]:
        """Yield (how far each spool is in the ledger, nothing), then (nothing, a lot) by lot."""
        call = self._stub.ListSpend(
            pb.ListSpendRequest(root_key_id=root_key_id), timeout=_SPEND_DEADLINE
        )
        try:
            async for message in call:
                lot: Lot = _spend.decode(message.rows) if message.rows else []
                if message.holds:
                    lot = _holds.decode(message.holds)
                yield dict(message.spools), lot
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        finally:
            call.cancel()

    async def list_settled(self, decision_ids: Sequence[str]) -> set[str]:
        """Return those of some decisions whose outcome is in the ledger."""
        try:
            answer = await self._stub.ListSettled(
                pb.ListSettledRequest(decision_ids=decision_ids), timeout=_PRICES_DEADLINE
            )
        except grpc.aio.AioRpcError as error:
            raise self._unavailable(error) from error
        return set(answer.decision_ids)

    async def close(self) -> None:
        """Close the line."""
        for closing in self._closing:
            closing.cancel()
        await self._channel.close(None)

    def _unavailable(self, error: grpc.aio.AioRpcError) -> Unavailable:
        details = error.details() or ""
        if error.code() in _REFUSALS:
            return Refused(f"the control plane refuses: {details}")
        self._renew()
        if fault := handshake_fault(details):
            if fault == OTHER_NAME:
                fault += ": set PDP_CONTROL_TLS_NAME to one that it has"
            return Unavailable(f"`{self._target}` is not taken for the control plane: {fault}")
        line = f"the control plane does not answer ({error.code().name.lower()})"
        if "errors resolving" in details:
            return Unavailable(f"{line}: the name in `{self._target}` has no address")
        if self._tls is not None and "Socket closed" in details:
            # All that TLS 1.3 shows of it on this side.
            line += (
                ": it closes the connection, maybe our certificate is not for its CA: see its log"
            )
        return Unavailable(line)
