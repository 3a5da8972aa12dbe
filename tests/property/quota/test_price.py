"""Our integers against genai-prices' own decimals, over its whole list."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import data
from genai_prices.types import ModelInfo, Provider, Usage
from hypothesis import assume, given
from hypothesis import strategies as st

from pdp.control.prices import build_list
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


def test_most_of_the_list_has_a_price() -> None:
    assert len(PRICED) > 500


@given(st.sampled_from(PRICED), TOKENS, TOKENS, st.integers(0, 100))
def test_a_cost_is_that_of_genai_prices_rounded_up(
    priced: tuple[Provider, ModelInfo], prompt: int, completion: int, part: int
) -> None:
    provider, model = priced
    cached = prompt * part // 100
    # Where its own id finds another entry, that one is compared under its id.
    assume(provider.find_model(model.id) is model)
    price = TABLE.price(model.id, provider.id)
    assert price is not None
    usage = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached)
    theirs = Decimal(str(model.get_prices(NOW).calc_price(usage)["total_price"])) * 10**9
    ours = price.cost(prompt, completion, cached)
    # Rates are rounded up to a nano-dollar for a million tokens, and the sum once more.
    assert theirs <= ours <= theirs + 7


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "gemini-2.5-pro"])
def test_models_with_dear_long_prompts_are_dear(model: str) -> None:
    price = TABLE.price(model, TABLE.provider_of(model))
    assert price is not None
    assert price.cost(200_001, 0) > 1.5 * price.cost(200_000, 0)
