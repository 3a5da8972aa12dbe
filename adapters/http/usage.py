"""From what a proxy saw of an answer to a `Usage`: what the adapters of all proxies share. Pure."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from adapters.http.counts import counts_of
from adapters.http.reference import Reference
from pdp.model import TokenDetails, Units, Usage, UsageSource, UsageStatus

_LISTENS: Final = "audio:transcribe"


class Metered(Struct, frozen=True, gc=False):
    """Tokens of an answer and how they are known; `cached` are a part of `prompt`.

    `details` and `units` as in `Usage`.
    """

    prompt: int
    completion: int
    cached: int
    source: UsageSource
    details: TokenDetails | None = None
    units: Units | None = None

    @property
    def complete(self) -> bool:
        """Whether the provider has told all of it."""
        return self.source == "provider"


def metered(reference: Reference, told: Mapping[str, int], estimate: int | None) -> Metered:
    """Return the tokens of an answer from what it told under `COUNTS`.

    `estimate` are output tokens of one that did not tell, or not to its end: silence is not
    free. None: no provider was at work.
    """
    counts = counts_of(told)
    prompt, completion = counts.prompt, counts.completion
    # Of anything else seconds do not say what it is paid for by.
    units = counts.units if reference.action == _LISTENS else None
    source: UsageSource = "none"
    if prompt is not None and (completion is not None or not reference.max_output):
        source = "provider"
    elif prompt is None and units is not None:
        source = "provider"  # It is paid for by the second.
    elif estimate is not None:
        source = "estimated"
        prompt = reference.prompt_tokens if prompt is None else prompt
        completion = estimate if completion is None else completion
    prompt = prompt or 0
    cached = min(prompt, counts.cached)
    return Metered(prompt, completion or 0, cached, source, counts.details, units)


def usage_from(
    reference: Reference,
    found: Metered,
    *,
    status: UsageStatus,
    http_status: int,
    duration: int,
    started_at: int | None,
) -> Usage:
    """Return the usage to report; `duration` in ms, `started_at` in ns.

    The model stays the one that was checked: providers answer with names of their own.
    """
    return Usage(
        request_id=reference.request_id,
        reservation_id=reference.reservation_id,
        key_id=reference.key_id,
        status=status,
        http_status=http_status,
        prompt_tokens=found.prompt,
        completion_tokens=found.completion,
        cached_tokens=found.cached,
        latency_ms=duration,
        started_at=started_at,
        usage_source=found.source,
        details=found.details,
        units=found.units,
    )
