"""Our integers against genai-prices' own decimals and against fractions, over its whole list."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

import pytest
from genai_prices import data
from genai_prices.types import ModelInfo, Provider, Usage
from hypothesis import assume, given
from hypothesis import strategies as st

from pdp.control.prices import build_list
from pdp.model import TokenDetails, Units
from pdp.quota.cost import Fees, Price, Rates, Tier, rates_of
from pdp.quota.price import PriceTable

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TABLE = PriceTable(build_list((), NOW))
PRICED = [
    (provider, model)
    for provider in data.providers
    for model in provider.models
    if TABLE.price(model.id, provider.id) is not None
]
BOUNDARIES = st.sampled_from([0, 1, 128_000, 128_001, 200_000, 200_001, 272_000, 272_001])
TOKENS = BOUNDARIES | st.integers(0, 2_000_000)
SOME = st.integers(0, 300_000)
UNITS = st.builds(Units, characters=SOME, seconds=SOME)


class Used:
    """A usage by its smallest parts, so that no two of them overlap."""

    def __init__(self, draw: st.DrawFn) -> None:
        parts = st.sampled_from([0, 0, 1, 7]) | SOME
        self.plain, self.cached, self.written, self.written_1h = (draw(parts) for _ in range(4))
        self.heard, self.heard_cached, self.seen, self.seen_cached = (draw(parts) for _ in range(4))
        self.text, self.spoken, self.drawn, self.thought = (draw(parts) for _ in range(4))
        self.units: Units = draw(UNITS)

    @property
    def prompt(self) -> int:
        of_text = self.plain + self.cached + self.written + self.written_1h
        return of_text + self.heard + self.heard_cached + self.seen + self.seen_cached

    @property
    def completion(self) -> int:
        return self.text + self.spoken + self.drawn + self.thought

    @property
    def all_cached(self) -> int:
        return self.cached + self.heard_cached + self.seen_cached

    @property
    def details(self) -> TokenDetails:
        return TokenDetails(
            cache_write=self.written + self.written_1h,
            cache_write_1h=self.written_1h,
            input_audio=self.heard + self.heard_cached,
            cached_audio=self.heard_cached,
            input_image=self.seen + self.seen_cached,
            cached_image=self.seen_cached,
            output_audio=self.spoken,
            output_image=self.drawn,
            reasoning=self.thought,
        )

    def cost(self, price: Price) -> int:
        return price.cost(self.prompt, self.completion, self.all_cached, self.details, self.units)

    def theirs(self) -> Usage:
        details = self.details
        return Usage(
            input_tokens=self.prompt,
            output_tokens=self.completion,
            cache_read_tokens=self.all_cached,
            cache_write_tokens=details.cache_write,
            cache_write_1h_tokens=details.cache_write_1h,
            input_audio_tokens=details.input_audio,
            cache_audio_read_tokens=details.cached_audio,
            input_image_tokens=details.input_image,
            cache_image_read_tokens=details.cached_image,
            output_audio_tokens=details.output_audio,
            output_image_tokens=details.output_image,
            output_reasoning_tokens=details.reasoning,
            input_characters=self.units.characters,
            audio_seconds=self.units.seconds,
            input_audio_seconds=self.units.seconds,
        )


used = st.composite(Used)()


def test_most_of_the_list_has_a_price() -> None:
    listed = sum(len(provider.models) for provider in data.providers)
    assert len(PRICED) > 0.94 * listed


@given(st.sampled_from(PRICED), used)
def test_a_cost_is_that_of_genai_prices_rounded_up(
    priced: tuple[Provider, ModelInfo], usage: Used
) -> None:
    provider, model = priced
    # Where its own id finds another entry, that one is compared under its id.
    assume(provider.find_model(model.id) is model)
    price = TABLE.price(model.id, provider.id)
    assert price is not None
    found = model.calc_price(usage.theirs(), provider, genai_request_timestamp=NOW)
    theirs = Decimal(str(found.total_price)) * 10**9
    # Rates are rounded up to a nano-dollar for a million, and the sum once more.
    assert theirs <= usage.cost(price) <= theirs + 9


def test_every_model_of_the_list_costs_what_genai_prices_says() -> None:
    usage = Usage(input_tokens=300_000, output_tokens=50_000, cache_read_tokens=9_000)
    compared = 0
    for provider, model in PRICED:
        if provider.find_model(model.id) is not model:
            continue
        price = TABLE.price(model.id, provider.id)
        assert price is not None
        found = model.calc_price(usage, provider, genai_request_timestamp=NOW).total_price
        theirs = Decimal(str(found)) * 10**9
        assert theirs <= price.cost(300_000, 50_000, 9_000) <= theirs + 9, model.id
        compared += 1
    assert compared > 2000


RATE = st.integers(0, 10**6) | st.integers(0, 10**15)
KINDS = (
    *("cached", "cache_write", "cache_write_1h", "input_audio", "cached_audio", "input_image"),
    *("cached_image", "output_audio", "output_image", "reasoning"),
)
RATES: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    prompt=RATE,
    completion=RATE,
    **{name: st.none() | RATE for name in KINDS},
)
FEES = st.builds(
    Fees,
    st.none() | RATE,
    st.none() | RATE,
    st.none() | RATE,
    st.none() | RATE,
    st.sampled_from([0, 10]),
)


def expected(rates: dict[str, Any], fees: Fees, used: Used, images: int) -> Fraction:
    """Return nano-USD, by the words of docs/prices.md: kind by kind, in fractions."""

    def rate(*names: str) -> Fraction:
        found = next(rates[name] for name in names if rates.get(name) is not None)
        return Fraction(found, 1_000_000)

    seconds = max(used.units.seconds, fees.least_seconds) if used.units.seconds else 0
    return (
        used.plain * rate("prompt")
        + used.cached * rate("cached", "prompt")
        + used.written * rate("cache_write", "prompt")
        + used.written_1h * rate("cache_write_1h", "cache_write", "prompt")
        + used.heard * rate("input_audio", "prompt")
        + used.heard_cached * rate("cached_audio", "input_audio", "cached", "prompt")
        + used.seen * rate("input_image", "prompt")
        + used.seen_cached * rate("cached_image", "input_image", "cached", "prompt")
        + used.text * rate("completion")
        + used.spoken * rate("output_audio", "completion")
        + used.drawn * rate("output_image", "completion")
        + used.thought * rate("reasoning", "completion")
        + Fraction(
            (fees.request or 0)
            + images * (fees.image or 0)
            + used.units.characters * (fees.character or 0)
            + seconds * (fees.second or 0),
            1_000_000,
        )
    )


@given(RATES, st.lists(st.tuples(TOKENS, RATES), max_size=3), FEES, used, st.integers(0, 10))
def test_a_cost_is_the_sum_of_its_kinds_rounded_up_once(
    rates: dict[str, Any],
    long: list[tuple[int, dict[str, Any]]],
    fees: Fees,
    usage: Used,
    images: int,
) -> None:
    long = sorted(dict(long).items())
    price = Price(rates_of(**rates), tuple(Tier(a, rates_of(**r)) for a, r in long), fees)
    usage.units = Units(images, usage.units.characters, usage.units.seconds)
    holds = next((more for above, more in reversed(long) if usage.prompt > above), rates)
    assert usage.cost(price) == ceil(expected(holds, fees, usage, images))


@given(RATES, st.lists(st.tuples(TOKENS, RATES), max_size=3), FEES, used, TOKENS, TOKENS, st.data())
def test_a_hold_is_never_less_than_the_cost(
    rates: dict[str, Any],
    long: list[tuple[int, dict[str, Any]]],
    fees: Fees,
    usage: Used,
    more_prompt: int,
    more_output: int,
    chosen: st.DataObject,
) -> None:
    """NO-OVERSPEND: whatever the provider cached, heard and thought, within what was asked for."""
    tiers = tuple(Tier(a, rates_of(**r)) for a, r in sorted(dict(long).items()))
    price = Price(rates_of(**rates), tiers, fees)
    seconds = usage.units.seconds + chosen.draw(st.integers(0, 100))
    units = Units(3, usage.units.characters + 1, seconds)
    held, of_prompt = price.hold(usage.prompt + more_prompt, usage.completion + more_output, units)
    assert usage.cost(price) <= held
    assert of_prompt <= held


@given(st.sampled_from(PRICED), used)
def test_no_model_of_the_list_costs_more_than_what_was_held(
    priced: tuple[Provider, ModelInfo], usage: Used
) -> None:
    price = TABLE.price(priced[1].id, priced[0].id)
    assert price is not None
    assert usage.cost(price) <= price.hold(usage.prompt, usage.completion, usage.units)[0]


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro"])
def test_models_with_dear_long_prompts_are_dear(model: str) -> None:
    price = TABLE.price(model, TABLE.provider_of(model))
    assert price is not None
    assert price.cost(200_001, 0) > 1.5 * price.cost(200_000, 0)
    assert price.cost(200_001, 0, 200_001) > 1.5 * price.cost(200_000, 0, 200_000)
    assert price.cost(200_001, 1_000) - price.cost(200_001, 0) > 1.2 * (
        price.cost(200_000, 1_000) - price.cost(200_000, 0)
    )


def test_rates_without_other_kinds_stay_small() -> None:
    assert rates_of(3, 5, 1) == Rates(3, 5, 1)
    assert rates_of(3, 5, cached_audio=3, reasoning=5) == Rates(3, 5, 3)
