"""What the data plane writes down, in the order it happened.

The same records rebuild the counters after a restart and become the audit
ledger in the control plane. Times in ns, money in nano-USD. The shapes are kept
on disk: add fields with defaults at the end, never change or remove one.
"""

from hashlib import blake2b
from typing import Final

import msgspec
from msgspec import Struct

from pdp.model import UsageSource, UsageStatus
from pdp.quota.hold import Hold, Outcome, Settlement, Window


class Facts(Struct, frozen=True, array_like=True, gc=False):
    """Who did what: the part of an audit entry that is known at decision time.

    `metadata` is the key's overlaid by the caller's.
    """

    decision_id: str
    request_id: str
    key_id: str
    key_name: str
    organization_id: str
    team_id: str
    user_id: str
    action: str
    model: str
    provider: str
    client_ip: str
    user_agent: str
    metadata: dict[str, str]


class Held(Struct, frozen=True, array_like=True, tag="h", gc=False):
    """A request was allowed and reserved. `rates` as in `Admitted`."""

    at: int
    facts: Facts
    hold: Hold
    rates: tuple[tuple[str, int, int], ...]


class Denied(Struct, frozen=True, array_like=True, tag="d", gc=False):
    """A request of a known key was denied; no counter moved. `ancestors` leaf first."""

    at: int
    facts: Facts
    reason: str
    http_status: int
    ancestors: tuple[str, ...]


class Settled(Struct, frozen=True, array_like=True, tag="s", gc=False):
    """A usage was reported. `facts.decision_id` is the hold's, or a new one if never checked.

    `cost` is None when it is neither reported nor priced (it counted as 0).
    `counted_tokens` is what the token limits were charged. `windows` are those
    that were charged. Empty strings in `facts` mean "as in the Held record".
    """

    at: int
    facts: Facts
    reservation_id: str
    status: UsageStatus
    http_status: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    counted_tokens: int
    cost: int | None
    latency_ms: int
    started_at: int | None
    usage_source: UsageSource
    windows: tuple[Window, ...]


class Expired(Struct, frozen=True, array_like=True, tag="x", gc=False):
    """A hold ran out unreported and was charged `cost` and `tokens` by policy."""

    at: int
    decision_id: str
    reservation_id: str
    key_id: str
    request_id: str
    cost: int
    tokens: int
    windows: tuple[Window, ...]


class Extended(Struct, frozen=True, array_like=True, tag="e", gc=False):
    """A hold lives longer, until `expires_at`."""

    at: int
    reservation_id: str
    expires_at: int


class Overruled(Struct, frozen=True, array_like=True, tag="o", gc=False):
    """Of a request that has been written down as settled, at `at`, counters had another report.

    That one is charged: `outcome`. The rest is as in the `Settled` record.
    """

    at: int
    decision_id: str
    reservation_id: str
    key_id: str
    request_id: str
    outcome: Outcome
    windows: tuple[Window, ...]


_DAY: Final = 86_400_000_000_000


def unchecked_decision(key_id: str, request_id: str, at: int) -> str:
    """Return the decision of a usage that was never checked, and was reported at `at` (ns).

    The same for two reports of it that came at once, to two data planes: both are written
    down, and the ledger takes one. It has the day in it, for counters forget after 49 hours.
    """
    name = f"{at // _DAY} {key_id} {request_id}"
    return "dec_" + blake2b(name.encode(), digest_size=16).hexdigest()


def decisions_beside(record: Settled | Overruled) -> tuple[str, ...]:
    """Return under which other names the ledger may have a usage that was never checked.

    Of two reports that came at once one may have come before midnight, UTC.
    """
    if record.reservation_id:
        return ()
    whose = record.facts if isinstance(record, Settled) else record
    return tuple(
        unchecked_decision(whose.key_id, whose.request_id, each)
        for each in (record.at - _DAY, record.at + _DAY)
    )


def settlement_of(settled: Settled, request_id: str) -> Settlement:
    """Return what counters are told; `request_id` is that of the Check."""
    return Settlement(
        reservation_id=settled.reservation_id,
        key_id=settled.facts.key_id,
        request_id=request_id,
        cost=settled.cost or 0,
        tokens=settled.counted_tokens,
        windows=settled.windows,
        now=settled.at,
        outcome=Outcome(
            settled.cost,
            settled.counted_tokens,
            settled.prompt_tokens,
            settled.completion_tokens,
            settled.cached_tokens,
        ),
    )


def overruled(settled: Settled, outcome: Outcome) -> Overruled:
    """Return that another report than this one was counted."""
    facts = settled.facts
    return Overruled(
        settled.at,
        facts.decision_id,
        settled.reservation_id,
        facts.key_id,
        facts.request_id,
        outcome,
        settled.windows,
    )


Record = Held | Denied | Settled | Expired | Extended | Overruled

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """Return the MessagePack form of a record."""
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """Return the record of its MessagePack form; raises `msgspec.DecodeError`."""
    return _decoder.decode(data)
