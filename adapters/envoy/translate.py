"""Envoy's words to ours: its headers, and from an access log entry to a `Usage`. Pure."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from adapters.http.counts import Shape, estimated_tokens
from adapters.http.reference import Reference
from adapters.http.usage import metered, usage_from
from pdp.credentials import CREDENTIAL_HEADERS
from pdp.model import Usage, UsageStatus

FORCE_USAGE: Final = "x-pdp-force-usage"
"""Request header that sends a stream over the route which asks for its usage."""

STRIPPED: Final = (*CREDENTIAL_HEADERS, FORCE_USAGE)
"""What never reaches the provider; the route adds the provider's own credentials after."""

PARTIAL_BODY: Final = "x-envoy-auth-partial-body"
"""Envoy's own header: `true` when the body that it sends is cut off."""


class Entry(Struct, frozen=True, gc=False):
    """What an access log entry says. `told` are the counts found in the response.

    `status` 0: the client got none. `details` is Envoy's word for where it comes from; `shape`
    is that of the body which the client got.
    `cut`: the client went away before the end. `failed`: the upstream did; `slow`: Envoy
    gave up waiting for it. Times in ns, `duration` in ms.
    """

    reference: Reference
    status: int
    details: str
    shape: Shape
    told: Mapping[str, int]
    cut: bool
    failed: bool
    slow: bool
    duration: int
    started_at: int | None


_NEVER_SENT: Final = (
    "route_not_found",
    "direct_response",
    "cluster_not_found",
    "no_healthy_upstream",
    "maintenance_mode",
    "upstream_reset_before_response_started",
)
"""Beginnings of `details` of requests that no provider has answered."""


def usage_of(entry: Entry) -> Usage:
    """Return the usage to report."""
    reference, estimate = entry.reference, None
    if 200 <= entry.status < 300 and entry.shape.size:
        estimate = estimated_tokens(entry.shape, reference.max_output, reference.action)
    found = metered(reference, entry.told, estimate)
    return usage_from(
        reference,
        found,
        status=_status(entry, complete=found.complete),
        http_status=entry.status,
        duration=entry.duration,
        started_at=entry.started_at,
    )


def _status(entry: Entry, *, complete: bool) -> UsageStatus:
    if complete and 200 <= entry.status < 300:
        # The openai client hangs up at `[DONE]`: with the usage there, that is success.
        return "success"
    if entry.slow:
        # The provider may be at work still. Unknown usage of a cancelled request is
        # charged by PDP_UNREPORTED; that of a failed one is free.
        return "cancelled"
    if entry.failed:
        return "error"
    if entry.status >= 400:
        # Envoy itself gives an error in the place of a response that it cannot pass on:
        # the provider did serve then.
        told = entry.details in ("", "via_upstream") or entry.details.startswith(_NEVER_SENT)
        return "error" if told else "cancelled"
    if entry.cut or entry.status == 0:
        return "cancelled"
    return "success"
