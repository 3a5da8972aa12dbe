"""NGINX's usage lines to ours: from a line of its log, or a datagram, to a `Usage`. Pure.

A line is what `examples/nginx` writes at the end of every allowed request: a JSON object,
with the reference of the decision, what the client got, and what the answer told.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from adapters.http.counts import Shape, believed, estimated_tokens
from adapters.http.reference import Reference, parse_reference
from adapters.http.usage import metered, usage_from
from pdp.model import Usage, UsageStatus

MAX_LINE: Final = 65_536
"""Bytes; a line has some hundred. A datagram cannot be longer."""

_VERSION: Final = 1
_MAX_HEADER: Final = 512
_CLIENT_CLOSED: Final = 499
_GATEWAY_TIMEOUT: Final = 504
_MAX_DURATION: Final = 1_000_000_000


class _Line(Struct, frozen=True, gc=False):
    """A line as it comes: `time` in s, `at` its end in s since the epoch.

    `completed`: the client got all of it. `sse`: it was a stream of events, `encoded`: it was
    compressed, `broken`: the provider broke it off. `bytes` are those of its body. Members that
    are not here (`id`, `last`, `model`, `chunks`) are for people.
    """

    v: int
    ref: str
    status: int
    upstream_status: str = ""
    bytes: int = 0
    time: float = 0.0
    at: float = 0.0
    completed: bool = False
    sse: bool = False
    encoded: bool = False
    broken: bool = False
    told: dict[str, Any] | None = None


_decoder: Final = msgspec.json.Decoder(_Line)


def message_of(datagram: bytes) -> bytes | None:
    """Return the message of a syslog datagram as NGINX sends it, None if it is no such one.

    `<190>Nov 28 12:00:00 pdp: MESSAGE`; with a hostname before the tag as well.
    """
    if not datagram.startswith(b"<"):
        return None
    start = datagram.find(b"{", 0, _MAX_HEADER)
    return datagram[start:] if start > 0 else None


def usage_of(text: bytes) -> Usage | None:
    """Return the usage that a line reports; None if it is not one of ours, or malformed."""
    if len(text) > MAX_LINE:
        return None
    try:
        line = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if line.v != _VERSION or not 0 <= line.status <= 999 or line.bytes < 0:
        return None
    reference = parse_reference(line.ref)
    return None if reference is None else _usage(line, reference)


def _usage(line: _Line, reference: Reference) -> Usage:
    found = metered(reference, believed(line.told or {}), _estimate(line, reference))
    duration = int(min(max(0.0, line.time) * 1000, _MAX_DURATION))
    return usage_from(
        reference,
        found,
        status=_status(line, complete=found.complete),
        http_status=line.status,
        duration=duration,
        started_at=_started_at(line.at, duration),
    )


def _started_at(end: float, duration: int) -> int | None:
    """Return ns since the epoch; None where the end (s) or the beginning cannot be one."""
    start = int(end * 1000 - duration) if 0 < end < 1e10 else 0
    return start * 1_000_000 if start > 0 else None


def _estimate(line: _Line, reference: Reference) -> int | None:
    """Return output tokens by what came; None: there was no answer to come."""
    if not (200 <= line.status < 300 and line.bytes):
        return None
    shape = Shape(line.bytes, line.sse, line.encoded)
    return estimated_tokens(shape, reference.max_output, reference.action)


def _status(line: _Line, *, complete: bool) -> UsageStatus:
    if complete and 200 <= line.status < 300:
        # The openai client hangs up at `[DONE]`: with the usage there, that is success.
        return "success"
    if line.status in (0, _CLIENT_CLOSED, _GATEWAY_TIMEOUT):
        # The client left, or NGINX gave up waiting: the provider may be at work still.
        # Unknown usage of a cancelled request is charged by PDP_UNREPORTED; that of a
        # failed one is free.
        return "cancelled"
    if line.status >= 400:
        # NGINX itself gives an error in the place of a response that it cannot pass on:
        # the provider did serve then.
        return "cancelled" if 200 <= _upstream_status(line) < 300 else "error"
    if line.broken:
        return "error"
    return "success" if line.completed else "cancelled"


def _upstream_status(line: _Line) -> int:
    """Return what the provider answered, 0 if it did not.

    NGINX lists everybody it asked, tries by commas and redirects by colons: the last counts.
    """
    last = line.upstream_status.replace(",", ":").rpartition(":")[2].strip()
    return int(last) if last.isascii() and last.isdecimal() and len(last) == 3 else 0
