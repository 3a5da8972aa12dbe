"""Prices: costs, look-ups, and what is unknown."""

import pytest

from pdp.quota.match import Match
from pdp.quota.price import (
    ModelPrice,
    Price,
    PriceList,
    PriceTable,
    ProviderPrices,
    Rates,
    Tier,
)

CHEAP = Price(Rates(100, 200, 10))
DEAR = Price(Rates(1_000, 2_000, 100))


def table(*providers: ProviderPrices) -> PriceTable:
    return PriceTable(PriceList(providers))


OPENAI = ProviderPrices(
    "openai",
    Match(starts_with=("gpt-",)),
    (
        ModelPrice(Match(equals=("gpt-4o",)), CHEAP),
        ModelPrice(Match(starts_with=("gpt-4",)), DEAR),
        ModelPrice(Match(equals=("gpt-image",)), None),
        ModelPrice(Match(equals=("whisper",)), CHEAP),
    ),
)
GATEWAY = ProviderPrices("gateway", models=(), fallbacks=("nobody", "openai"))


def test_components_are_summed_and_rounded_up_once() -> None:
    price = Price(Rates(prompt=1, completion=1, cached=1))
    assert price.cost(1, 0) == 1
    assert price.cost(499_999, 500_000, 1) == 1
    assert price.cost(500_000, 500_001) == 2
    assert price.cost(0, 0) == 0
    assert price.hold(1, 0) == (1, 1)
    assert price.hold(0, 0) == (0, 0)


def test_cached_tokens_are_part_of_the_prompt() -> None:
    assert Price(Rates(1_000_000, 0, 250_000)).cost(10, 0, cached_tokens=4) == 6 + 1


def test_a_long_prompt_takes_its_rates_for_all_tokens() -> None:
    price = Price(
        Rates(1_000_000, 2_000_000, 0),
        (Tier(100, Rates(3_000_000, 4_000_000, 0)), Tier(200, Rates(5_000_000, 6_000_000, 0))),
    )
    assert price.cost(100, 10) == 100 + 20
    assert price.cost(101, 10) == 303 + 40
    assert price.cost(200, 10) == 600 + 40
    assert price.cost(201, 10) == 1005 + 60
    assert price.hold(100, 10) == (100 + 20, 100)
    assert price.hold(201, 10) == (1005 + 60, 1005)


@pytest.mark.parametrize(
    ("rule", "name", "matches"),
    [
        (Match(), "a", False),
        (Match(equals=("a", "b")), "b", True),
        (Match(starts_with=("ab",)), "abc", True),
        (Match(starts_with=("ab",)), "cab", False),
        (Match(ends_with=("bc",)), "abc", True),
        (Match(contains=("b",)), "abc", True),
        (Match(regex=("^a.c$",)), "abc", True),
        (Match(regex=("^a.c$",)), "abcd", False),
        (Match(every=((Match(starts_with=("a",)), Match(ends_with=("c",))),)), "abc", True),
        (Match(every=((Match(starts_with=("a",)), Match(ends_with=("d",))),)), "abc", False),
    ],
)
def test_rules(rule: Match, name: str, matches: bool) -> None:
    assert rule.matches(name) is matches


def test_the_first_entry_that_matches_counts() -> None:
    prices = table(OPENAI)
    assert prices.price("gpt-4o", "openai") == CHEAP
    assert prices.price("GPT-4o", "openai") == CHEAP
    assert prices.price("gpt-4-turbo", "openai") == DEAR
    assert prices.price("openai/gpt-4o", "openai") == CHEAP


def test_unknown_is_not_free() -> None:
    prices = table(OPENAI, GATEWAY)
    assert prices.price("gpt-5", "openai") is None
    assert prices.price("gpt-image", "openai") is None
    assert prices.price("gpt-4o", "elsewhere") is None
    assert prices.price("mystery", "gateway") is None


def test_a_name_may_be_spelled_with_its_provider() -> None:
    listed = (
        ModelPrice(Match(equals=("sonar",)), CHEAP),
        ModelPrice(Match(equals=("seller/sonar",)), DEAR),
        ModelPrice(Match(equals=("seller/kimi",)), DEAR),
    )
    prices = table(ProviderPrices("seller", models=listed))
    assert prices.price("seller/sonar", "seller") == DEAR
    assert prices.price("seller/kimi", "seller") == DEAR
    assert prices.price("sonar", "seller") == CHEAP
    assert prices.price("kimi", "seller") is None
    own = ModelPrice(Match(contains=("",)), CHEAP)
    assert (
        table(ProviderPrices("seller", models=(own, *listed))).price("seller/sonar", "seller")
        == CHEAP
    )  # What is before it still goes before it.


def test_a_name_with_its_provider_before_it_is_found_by_the_first_entry_for_either() -> None:
    listed = (
        ModelPrice(Match(starts_with=("gpt-4",)), CHEAP),
        ModelPrice(Match(contains=("gpt",)), DEAR),
    )
    assert table(ProviderPrices("seller", models=listed)).price("seller/gpt-4", "seller") == CHEAP


def test_a_reseller_has_the_prices_of_its_fallbacks() -> None:
    assert table(OPENAI, GATEWAY).price("gpt-4o", "gateway") == CHEAP


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-anything", "openai"),
        ("gateway/whatever", "gateway"),
        ("elsewhere/gpt-4o", "unknown"),
        ("whisper", "openai"),
        ("mystery", "unknown"),
    ],
)
def test_a_provider_is_derived_from_the_name_of_the_model(model: str, provider: str) -> None:
    prices = table(GATEWAY, OPENAI)
    assert prices.provider_of(model) == provider
    assert prices.provider_of(model) == provider  # Remembered.
    assert prices.knows(provider) is (provider != "unknown")


def test_a_maker_whose_names_say_nothing_is_found_by_its_list() -> None:
    first = ProviderPrices("first", Match(equals=("x",)), ())
    assert table(first, OPENAI).provider_of("whisper") == "openai"


def test_the_memory_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdp.quota.price._MEMO_SIZE", 2)
    prices = table(OPENAI)
    for model in ("gpt-4o", "gpt-4-a", "gpt-4-b", "gpt-4o"):
        assert prices.price(model, "openai") is not None
        assert prices.provider_of(model) == "openai"
    assert len(prices._price_memo) == len(prices._provider_memo) == 2
