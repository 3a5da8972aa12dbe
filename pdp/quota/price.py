"""Price lists: plain tables and pure look-ups; `cost` has what a price is.

Unknown is None, never 0.
"""

from collections.abc import Iterator
from typing import Final, TypeVar

from msgspec import Struct

from pdp.quota.cost import Fees, Price, Rates, Tier
from pdp.quota.match import Match, MatchIndex

__all__ = [
    "Fees",
    "ModelPrice",
    "Price",
    "PriceList",
    "PriceTable",
    "ProviderPrices",
    "Rates",
    "Tier",
]

K = TypeVar("K")
V = TypeVar("V")

UNKNOWN: Final = "unknown"
_MEMO_SIZE: Final = 1024


class ModelPrice(Struct, frozen=True):
    """The price of the models that a rule matches; None: served, but without a known price."""

    match: Match
    price: Price | None


class ProviderPrices(Struct, frozen=True, omit_defaults=True):
    """One provider: which model names imply it, and its models, the first match counts.

    `implied_last`: names that imply it where no other provider has them. `fallbacks` are
    the providers whose prices hold for models that it resells.
    """

    id: str
    implied_by: Match | None = None
    models: tuple[ModelPrice, ...] = ()
    fallbacks: tuple[str, ...] = ()
    implied_last: Match | None = None


class PriceList(Struct, frozen=True):
    """All providers, in the order in which model names are tried on them."""

    providers: tuple[ProviderPrices, ...] = ()


class PriceTable:
    """Look-ups in a price list.

    Only names that are known are remembered, and few of them: names come from clients.
    """

    def __init__(self, prices: PriceList) -> None:
        self._providers = {
            provider.id: (provider, MatchIndex(entry.match for entry in provider.models))
            for provider in prices.providers
        }
        makers = [(each.id, each.implied_by, each.models) for each in prices.providers]
        rules = [(rule, maker) for maker, rule, _ in makers if rule is not None]
        # Some names say nothing, but only their maker lists them first.
        rules += [
            (entry.match, maker) for maker, rule, models in makers if rule for entry in models
        ]
        rules += [(each.implied_last, each.id) for each in prices.providers if each.implied_last]
        self._implied = MatchIndex(rule for rule, _ in rules)
        self._makers = tuple(maker for _, maker in rules)
        self._price_memo: dict[tuple[str, str], Price] = {}
        self._provider_memo: dict[str, str] = {}

    def knows(self, provider: str) -> bool:
        """Tell whether there is such a provider."""
        return provider in self._providers

    def provider_of(self, model: str) -> str:
        """Return the provider that a model name implies, else `unknown`."""
        found = self._provider_memo.get(model)
        if found is not None:
            return found
        found = self._derive(model.lower())
        if found != UNKNOWN:
            _remember(self._provider_memo, model, found)
        return found

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model at a provider; None if it is not known."""
        name = (provider, model)
        found = self._price_memo.get(name)
        if found is not None:
            return found
        found = self._find(model.lower(), provider)
        if found is not None:
            _remember(self._price_memo, name, found)
        return found

    def entry(self, model: str, provider: str) -> tuple[str, int] | None:
        """Return (whose entry, which of its models) the price of a model comes from."""
        found = self._seek(model.lower(), provider)
        return None if found is None else (found[0].id, found[1])

    def _derive(self, name: str) -> str:
        vendor, slash, _ = name.partition("/")
        if slash and vendor in self._providers:
            return vendor
        place = self._implied.first(name)
        return UNKNOWN if place is None else self._makers[place]

    def _find(self, name: str, provider_id: str) -> Price | None:
        found = self._seek(name, provider_id)
        return None if found is None else found[0].models[found[1]].price

    def _seek(self, name: str, provider_id: str) -> tuple[ProviderPrices, int] | None:
        for provider, index in self._sellers(provider_id):
            place = _place(index, name, name.removeprefix(f"{provider_id}/"))
            if place is not None:
                return provider, place
        return None

    def _sellers(self, provider_id: str) -> Iterator[tuple[ProviderPrices, MatchIndex]]:
        found = self._providers.get(provider_id)
        if found is not None:
            yield found
            for fallback in found[0].fallbacks:
                if fallback in self._providers:
                    yield self._providers[fallback]


def _place(index: MatchIndex, name: str, bare: str) -> int | None:
    """Return the first entry for a name, which may have its provider before it.

    A name that the list spells in full is taken as it is (`perplexity/sonar` is not
    `sonar`); any other is looked up with and without.
    """
    place = index.first(name)
    if name == bare or index.spells(name):
        return place
    other = index.first(bare)
    return other if place is None or (other is not None and other < place) else place


def _remember(memo: dict[K, V], name: K, found: V) -> None:
    memo[name] = found
    if len(memo) > _MEMO_SIZE:
        del memo[next(iter(memo))]
