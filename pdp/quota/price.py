"""Prices: plain tables and pure look-ups.

Prices are integers in nano-USD per million tokens: many real prices are
fractions of a nano-dollar a token. Unknown is None, never 0.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from msgspec import Struct

K = TypeVar("K")
V = TypeVar("V")

UNKNOWN: Final = "unknown"
_MEMO_SIZE: Final = 10_000


class Rates(Struct, frozen=True, array_like=True):
    """nano-USD per million tokens; `cached` is for prompt tokens that the provider had cached."""

    prompt: int
    completion: int
    cached: int


class Tier(Struct, frozen=True, array_like=True):
    """The rates of all tokens of a request whose prompt has more than `above` tokens."""

    above: int
    rates: Rates


class Price(Struct, frozen=True, array_like=True):
    """What a model costs: the usual rates, and those of long prompts, by ascending `above`."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Return the cost in nano-USD, summed first and rounded up once."""
        rates = self.rates if not self.tiers else self._rates(prompt_tokens)
        total = (
            (prompt_tokens - cached_tokens) * rates.prompt
            + cached_tokens * rates.cached
            + completion_tokens * rates.completion
        )
        return -(-total // 1_000_000)

    def hold(self, prompt_tokens: int, completion_tokens: int) -> tuple[int, int]:
        """Return (the cost, that of the prompt alone) in nano-USD."""
        rates = self.rates if not self.tiers else self._rates(prompt_tokens)
        prompt = prompt_tokens * rates.prompt
        cost = -(-(prompt + completion_tokens * rates.completion) // 1_000_000)
        return cost, -(-prompt // 1_000_000)

    def _rates(self, prompt_tokens: int) -> Rates:
        rates = self.rates
        for tier in self.tiers:
            if prompt_tokens > tier.above:
                rates = tier.rates
        return rates


class Match(Struct, frozen=True, omit_defaults=True):
    """A rule over model names in lower case: any one of its alternatives is enough.

    `every` holds groups of rules; a group matches when all its rules do.
    """

    equals: tuple[str, ...] = ()
    starts_with: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    every: "tuple[tuple[Match, ...], ...]" = ()

    def matches(self, name: str) -> bool:
        """Tell whether a name in lower case matches."""
        return (
            name in self.equals
            or (bool(self.starts_with) and name.startswith(self.starts_with))
            or (bool(self.ends_with) and name.endswith(self.ends_with))
            or any(part in name for part in self.contains)
            or any(re.search(pattern, name) for pattern in self.regex)
            or any(all(rule.matches(name) for rule in group) for group in self.every)
        )


class ModelPrice(Struct, frozen=True):
    """The price of the models that a rule matches; None: served, but without a known price."""

    match: Match
    price: Price | None


class ProviderPrices(Struct, frozen=True, omit_defaults=True):
    """One provider: which model names imply it, and its models, the first match counts.

    `fallbacks` are the providers whose prices hold for models that it resells.
    """

    id: str
    implied_by: Match | None = None
    models: tuple[ModelPrice, ...] = ()
    fallbacks: tuple[str, ...] = ()


class PriceList(Struct, frozen=True):
    """All providers, in the order in which model names are tried on them."""

    providers: tuple[ProviderPrices, ...] = ()


class PriceTable:
    """Look-ups in a price list, remembered; bounded, since names come from clients."""

    def __init__(self, prices: PriceList) -> None:
        self._providers = {provider.id: provider for provider in prices.providers}
        self._price_memo: OrderedDict[tuple[str, str], Price | None] = OrderedDict()
        self._provider_memo: OrderedDict[str, str] = OrderedDict()

    def knows(self, provider: str) -> bool:
        """Tell whether there is such a provider."""
        return provider in self._providers

    def provider_of(self, model: str) -> str:
        """Return the provider that a model name implies, else `unknown`."""
        found = self._provider_memo.get(model)
        if found is None:
            found = _remember(self._provider_memo, model, lambda: self._derive(model.lower()))
        return found

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model at a provider; None if it is not known."""
        name = (provider, model)
        memo = self._price_memo
        if name in memo:
            return memo[name]
        return _remember(memo, name, lambda: self._find(model.lower(), provider))

    def _derive(self, name: str) -> str:
        vendor, slash, _ = name.partition("/")
        if slash and vendor in self._providers:
            return vendor
        makers = [each for each in self._providers.values() if each.implied_by is not None]
        for provider in makers:
            if provider.implied_by and provider.implied_by.matches(name):
                return provider.id
        for provider in makers:  # Some names say nothing, but only their maker lists them first.
            if any(entry.match.matches(name) for entry in provider.models):
                return provider.id
        return UNKNOWN

    def _find(self, name: str, provider_id: str) -> Price | None:
        provider = self._providers.get(provider_id)
        if provider is None:
            return None
        name = name.removeprefix(f"{provider_id}/")
        for candidate in (provider, *map(self._providers.get, provider.fallbacks)):
            if candidate is not None:
                for entry in candidate.models:
                    if entry.match.matches(name):
                        return entry.price
        return None


def _remember(memo: OrderedDict[K, V], name: K, find: Callable[[], V]) -> V:
    found = memo[name] = find()
    if len(memo) > _MEMO_SIZE:
        memo.popitem(last=False)
    return found
