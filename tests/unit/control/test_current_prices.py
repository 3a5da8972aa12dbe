"""Prices of simulations follow the list."""

import msgspec

from pdp.control.current_prices import CurrentPrices
from pdp.control.prices import Prices
from pdp.quota.match import Match
from pdp.quota.price import ModelPrice, Price, PriceList, ProviderPrices, Rates


def made(revision: str, amount: int) -> Prices:
    price = Price(Rates(prompt=amount, completion=amount, cached=amount))
    model = ModelPrice(Match(equals=("m",)), price)
    provider = ProviderPrices("p", Match(equals=("m",)), (model,))
    return Prices(revision, msgspec.json.encode(PriceList((provider,))))


def test_a_changed_list_is_taken() -> None:
    current = [made("a", 1)]
    prices = CurrentPrices(lambda: current[0])
    assert prices.knows("p")
    assert prices.provider_of("m") == "p"
    before = prices.price("m", "p")
    assert before is not None
    assert before.rates.prompt == 1
    current[0] = made("b", 2)
    after = prices.price_at("m", "p", 0)
    assert after is not None
    assert after.rates.prompt == 2
    assert prices.price("n", "p") is None
