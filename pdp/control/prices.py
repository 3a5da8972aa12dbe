"""The price list: what `genai-prices` knows, with the operator's own prices before it.

`genai-prices` takes 0.3 s and 24 MB to import, so only this module and `built_in_prices`
do, and only the control plane imports them.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
from genai_prices import data
from msgspec import Struct

from pdp.control.built_in_prices import provider_prices
from pdp.control.price_overrides import Override
from pdp.quota.match import Match, joined
from pdp.quota.price import ModelPrice, PriceList, ProviderPrices


class Prices(Struct, frozen=True):
    """A price list, ready to send: `json` is its msgspec JSON, `revision` a hash of that."""

    revision: str
    json: bytes


def make_prices(overrides: Sequence[Override], now: datetime) -> Prices:
    """Return the prices in force at `now`."""
    encoded = msgspec.json.encode(build_list(overrides, now))
    return Prices(hashlib.blake2b(encoded, digest_size=8).hexdigest(), encoded)


def build_list(overrides: Sequence[Override], now: datetime) -> PriceList:
    """Return the list: built-in prices after `overrides`, of which the first goes first.

    Providers in the operator's file are tried first, in its order.
    """
    own: dict[str, list[Override]] = {}
    for override in overrides:
        own.setdefault(override.provider, []).append(override)
    built_in = {provider.id: provider_prices(provider, now) for provider in data.providers}
    of_file = dict.fromkeys(each.provider for each in overrides if not each.price_id)
    order = dict.fromkeys((*of_file, *built_in, *own))
    return PriceList(
        tuple(_with(built_in.get(name, ProviderPrices(name)), own.get(name, ())) for name in order)
    )


def _with(before: ProviderPrices, overrides: Sequence[Override]) -> ProviderPrices:
    if not overrides:
        return before
    of_file = [each.match for each in overrides if not each.price_id]
    others = [each.match for each in overrides if each.price_id]
    return msgspec.structs.replace(
        before,
        implied_by=joined((before.implied_by or Match(), *of_file))
        if of_file
        else before.implied_by,
        implied_last=joined(others) if others else None,
        models=(*(ModelPrice(each.match, each.price) for each in overrides), *before.models),
    )
