"""The price list: what `genai-prices` knows, with the operator's own prices before it.

`genai-prices` takes 0.3 s and 24 MB to import, so only this module does, and
only the control plane imports this module.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
from genai_prices import data
from genai_prices import types as genai
from msgspec import Struct

from pdp.control.price_overrides import Override
from pdp.quota.match import Match
from pdp.quota.price import (
    ModelPrice,
    Price,
    PriceList,
    ProviderPrices,
    Rates,
    Tier,
)

_NANO = 1_000_000_000


class Prices(Struct, frozen=True):
    """A price list, ready to send: `json` is its msgspec JSON, `revision` a hash of that."""

    revision: str
    json: bytes


def make_prices(overrides: Sequence[Override], now: datetime) -> Prices:
    """Return the prices in force at `now`."""
    encoded = msgspec.json.encode(build_list(overrides, now))
    return Prices(hashlib.blake2b(encoded, digest_size=8).hexdigest(), encoded)


def build_list(overrides: Sequence[Override], now: datetime) -> PriceList:
    """Return the list: built-in prices, overridden; providers with overrides are tried first."""
    providers = {provider.id: _provider(provider, now) for provider in data.providers}
    for override in reversed(overrides):
        before = providers.pop(override.provider, ProviderPrices(override.provider))
        implied = _joined(before.implied_by or Match(), override.match)
        changed = msgspec.structs.replace(
            before,
            implied_by=implied,
            models=(ModelPrice(override.match, override.price), *before.models),
        )
        providers = {override.provider: changed, **providers}
    return PriceList(tuple(providers.values()))


def _provider(provider: genai.Provider, now: datetime) -> ProviderPrices:
    return ProviderPrices(
        provider.id,
        None if provider.model_match is None else _match(provider.model_match),
        tuple(
            ModelPrice(_match(model.match), _price(model.get_prices(now)))
            for model in provider.models
        ),
        tuple(provider.fallback_model_providers or ()),
    )


def _price(prices: genai.ModelPrice) -> Price | None:
    """Return token prices; None where tokens alone do not tell the cost."""
    usual = _rates(prices, 0)
    if usual is None or prices.requests_kcount is not None:  # The latter: a fee a request.
        return None
    starts = {
        tier.start
        for value in vars(prices).values()
        if isinstance(value, genai.TieredPrices)
        for tier in value.tiers
    }
    tiers = [(start, _rates(prices, start + 1)) for start in sorted(starts)]
    return Price(usual, tuple(Tier(start, rates) for start, rates in tiers if rates is not None))


def _rates(prices: genai.ModelPrice, prompt_tokens: int) -> Rates | None:
    prompt = _nano(prices.input_mtok, prompt_tokens)
    completion = _nano(prices.output_mtok, prompt_tokens)
    if completion is None and not _has_output(prices):
        completion = 0  # Embeddings have no output.
    if prompt is None or completion is None:
        return None
    cached = _nano(prices.cache_read_mtok, prompt_tokens)
    return Rates(prompt, completion, prompt if cached is None else cached)


def _has_output(prices: genai.ModelPrice) -> bool:
    """Tell whether some output is charged for: pictures, sound."""
    charged = (name for name, value in vars(prices).items() if value is not None)
    return any(name.startswith("output") or name == "requests_kcount" for name in charged)


def _nano(price: Any, prompt_tokens: int) -> int | None:
    if isinstance(price, genai.TieredPrices):
        passed = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
        price = passed[-1] if passed else price.base
    if not isinstance(price, Decimal):
        return None
    return int((price * _NANO).to_integral_value(ROUND_CEILING))


def _match(clause: Any) -> Match:
    match clause:
        case genai.ClauseEquals(equals=text):
            return Match(equals=(text.lower(),))
        case genai.ClauseStartsWith(starts_with=text):
            return Match(starts_with=(text.lower(),))
        case genai.ClauseEndsWith(ends_with=text):
            return Match(ends_with=(text.lower(),))
        case genai.ClauseContains(contains=text):
            return Match(contains=(text.lower(),))
        case genai.ClauseRegex(regex=pattern):
            return Match(regex=(pattern,))
        case genai.ClauseOr(or_=clauses):
            return _joined(*map(_match, clauses))
        case genai.ClauseAnd(and_=clauses):
            return Match(every=(tuple(map(_match, clauses)),))
    raise TypeError(f"unknown clause of genai-prices: {type(clause).__name__}")


def _joined(*rules: Match) -> Match:
    """Return the rule that matches where any of the rules does."""
    return Match(
        **{
            field: tuple(value for rule in rules for value in getattr(rule, field))
            for field in Match.__struct_fields__
        }
    )
