"""From an access log entry to a `Usage`. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from adapters.envoy.translate import Reference, estimated_tokens
from pdp.model import Usage, UsageStatus


class Entry(Struct, frozen=True):
    """What an access log entry says. `told` are the counts found in the response.

    `status` 0: the client got none. `cut`: the client went away before the end.
    `failed`: the upstream did; `slow`: Envoy gave up waiting for it. Times in ns,
    `duration` in ms.
    """

    reference: Reference
    status: int
    response_bytes: int
    told: Mapping[str, int]
    cut: bool
    failed: bool
    slow: bool
    duration: int
    started_at: int | None


def usage_of(entry: Entry) -> Usage:
    """Return the usage to report."""
    reference, told = entry.reference, entry.told
    status = _status(entry)
    prompt, completion, cached, source = 0, 0, 0, "none"
    if told:
        prompt = told.get("prompt_tokens", 0)
        completion = told.get("completion_tokens", 0)
        cached = min(prompt, told.get("cached_tokens", 0))
        source = "provider"
    elif 200 <= entry.status < 300 and entry.response_bytes:
        # Nobody told, but the provider was at work: silence is not free.
        prompt = reference.prompt_tokens
        completion = estimated_tokens(entry.response_bytes, reference.max_output)
        source = "estimated"
    return Usage(
        request_id=reference.request_id,
        reservation_id=reference.reservation_id,
        key_id=reference.key_id,
        status=status,
        http_status=entry.status,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        latency_ms=entry.duration,
        started_at=entry.started_at,
        usage_source=source,  # type: ignore[arg-type]
    )


def _status(entry: Entry) -> UsageStatus:
    if entry.told and 200 <= entry.status < 300:
        # The openai client hangs up at `[DONE]`: with the usage there, that is success.
        return "success"
    if entry.slow:
        # The provider may be at work still. Unknown usage of a cancelled request is
        # charged by PDP_UNREPORTED; that of a failed one is free.
        return "cancelled"
    if entry.failed or entry.status >= 400:
        return "error"
    if entry.cut or entry.status == 0:
        return "cancelled"
    return "success"
