"""What a usage leaves unsaid, and what is taken for it. Silence is not free. Pure."""

from typing import Final

from pdp.model import Units, Usage, UsageStatus
from pdp.quota.cost import Price
from pdp.quota.hold import Hold

_UNUSED: Final = ("error", "denied")
"""Statuses of requests that used nothing, unless they say what."""

_CLIENT_CLOSED: Final = 499
"""NGINX's own: the client left, the provider may have been at work."""


def status_of(http_status: int) -> UsageStatus:
    """Return the status of a usage that has none, by what the client got; 0: not known."""
    if http_status == _CLIENT_CLOSED:
        return "cancelled"
    return "error" if http_status >= 400 else "success"


def merged_units(told: Units | None, held: Units | None) -> Units | None:
    """Return units as told, and as they were held where nothing is told of one."""
    if told is None or held is None:
        return held if told is None else told
    return Units(
        told.images or held.images,
        told.characters or held.characters,
        told.seconds or held.seconds,
    )


def has_no_tokens(units: Units | None, price: Price | None) -> bool:
    """Tell whether a request of such units is paid for by the piece, and has no tokens at all."""
    return units is not None and price is not None and not price.by_token


def tells_nothing(usage: Usage, hold: Hold, price: Price | None) -> bool:
    """Tell whether a usage without tokens says nothing of what is paid for by its `price`.

    Seconds say nothing of a request that is paid for by the token.
    """
    if usage.units is None:
        return _is_silent(usage)
    if price is None or not price.by_token or not hold.tokens or usage.status in _UNUSED:
        return False
    return price.fees is None or not price.fees.count(usage.units)


def _is_silent(usage: Usage) -> bool:
    """Tell whether a usage without tokens means "not known" rather than "nothing used".

    A failed or refused request used nothing; a cancelled one did, and who says
    `none` about a successful one does not know: neither is free.
    """
    if usage.status in _UNUSED:
        return False
    return usage.usage_source == "none" or (usage.status == "cancelled" and not usage.usage_source)
