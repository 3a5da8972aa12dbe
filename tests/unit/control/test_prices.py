"""The price list: built-in prices, the operator's own before them, and what is not known."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from genai_prices import Usage, calc_price, data
from hypothesis import given
from hypothesis import strategies as st

from pdp.control.price_overrides import Override, load_overrides, parse_overrides
from pdp.control.prices import build_list, make_prices
from pdp.errors import StartRefused
from pdp.model import Units
from pdp.policy.glob import pattern_of
from pdp.problems import Problems
from pdp.quota.match import MatchIndex
from pdp.quota.price import Price, PriceList, PriceTable, Rates

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
USD = 1_000_000_000


@pytest.fixture(scope="module")
def built_in() -> PriceTable:
    return PriceTable(build_list((), NOW))


def table_with(*entries: dict[str, Any]) -> PriceTable:
    """Return the list with some overrides."""
    problems = Problems()
    overrides = parse_overrides({"prices": list(entries)}, problems)
    problems.raise_if_any()
    return PriceTable(build_list(overrides, NOW))


def entry(model: str, provider: str = "local", prompt: object = 1.0, **fields: Any) -> Any:
    return {"provider": provider, "model": model, "prompt": prompt, "completion": 2.0, **fields}


# -- Built-in prices


def test_prices_are_whole_nano_usd_a_million_tokens(built_in: PriceTable) -> None:
    price = built_in.price("gpt-4o", "openai")
    assert price == Price(Rates(prompt=2_500_000_000, completion=10 * USD, cached=1_250_000_000))
    assert price.cost(150, 200) == 2_375_000


@pytest.mark.parametrize("usage", [(1_000_000, 1_000_000, 0), (1000, 10, 500), (900_000, 5, 0)])
def test_what_a_request_costs_is_what_genai_prices_says(
    built_in: PriceTable, usage: tuple[int, int, int]
) -> None:
    prompt, completion, cached = usage
    asked = Usage(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached)
    compared = 0
    for provider in data.providers:
        for model in provider.models:
            price = built_in.price(model.id, provider.id)
            if price is None:
                continue
            known = calc_price(
                asked, model.id, provider_id=provider.id, genai_request_timestamp=NOW
            ).total_price
            # Rates are rounded up to a nano-USD a million tokens, the sum once more.
            excess = Decimal(price.cost(*usage)) - known * USD
            assert 0 <= excess < 4, (provider.id, model.id)
            compared += 1
    assert compared > 1000


def test_a_long_prompt_has_its_own_rates(built_in: PriceTable) -> None:
    price = built_in.price("gemini-2.5-pro", "google")
    assert price is not None
    assert price.cost(200_000, 0) == 200_000 * 1_250
    assert price.cost(200_001, 0) == 200_001 * 2_500


def test_embeddings_cost_their_input(built_in: PriceTable) -> None:
    price = built_in.price("text-embedding-3-small", "openai")
    assert price is not None
    assert price.cost(1_000_000, 0) == 20_000_000


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("no-such-model", "openai"),
        ("gpt-4o", "nobody"),
        ("gpt-4o", "unknown"),
        ("", "openai"),
        ("dall-e-3", "openai"),  # By the picture.
        ("mistral-ocr-2503", "mistral"),  # By the page.
        ("gemini-omni-flash-preview", "google"),  # Nobody tells which tokens were video.
    ],
)
def test_unknown_is_none_and_never_free(built_in: PriceTable, model: str, provider: str) -> None:
    assert built_in.price(model, provider) is None


@pytest.mark.parametrize(
    ("model", "provider", "units", "cost"),
    [
        ("whisper-1", "openai", Units(seconds=60), 6_000_000),  # 0.006 USD a minute.
        ("whisper-large-v3", "groq", Units(seconds=1), 308_334),  # Ten seconds at least.
        ("tts-1", "openai", Units(characters=1_000), 15_000_000),
        ("sonar", "perplexity", None, 12_000_000),  # And by the token.
        ("omni-moderation-latest", "openai", None, 0),
        ("mai-ds-r1:free", "azure", None, 0),
    ],
)
def test_what_is_not_paid_for_by_the_token_has_its_fee(
    built_in: PriceTable, model: str, provider: str, units: Units | None, cost: int
) -> None:
    price = built_in.price(model, provider)
    assert price is not None
    assert price.covers(units)
    assert price.cost(0, 0, units=units) == cost
    assert price.hold(0, 0, units) == (cost, cost)


def test_a_price_by_the_hour_tells_nothing_of_a_chat(built_in: PriceTable) -> None:
    price = built_in.price("whisper-1", "openai")
    assert price is not None
    assert not price.covers(None)
    assert not price.covers(Units(images=1, characters=5))


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("GPT-4o-mini", "openai"),
        ("gpt-3.5-turbo", "openai"),
        ("text-embedding-3-small", "openai"),
        ("claude-3-5-sonnet-20241022", "anthropic"),
        ("claude-3-haiku", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("mistral-large-latest", "mistral"),
        ("azure/gpt-4o", "azure"),
        ("no-such-model", "unknown"),
        ("nobody/gpt-none", "unknown"),
    ],
)
def test_the_provider_follows_from_the_model(
    built_in: PriceTable, model: str, provider: str
) -> None:
    assert built_in.provider_of(model) == provider


def test_prices_are_those_in_force() -> None:
    def cost(now: datetime) -> int:
        price = PriceTable(build_list((), now)).price("o3", "openai")
        assert price is not None
        return price.rates.prompt

    assert cost(datetime(2025, 6, 9, tzinfo=UTC)) == 10 * USD
    assert cost(datetime(2025, 6, 11, tzinfo=UTC)) == 2 * USD


def test_a_list_survives_the_way_to_the_data_plane_and_its_revision_tells_it_apart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"prices": [entry("llama")]}))
    plain, same = make_prices((), NOW), make_prices((), NOW)
    own = make_prices(load_overrides(path), NOW)
    assert msgspec.json.decode(plain.json, type=PriceList) == build_list((), NOW)
    assert plain == same
    assert own.revision != plain.revision
    table = PriceTable(msgspec.json.decode(own.json, type=PriceList))
    assert table.price("llama", "local") == Price(Rates(USD, 2 * USD, USD))


# -- The operator's own


def test_an_own_price_goes_before_the_built_in_one() -> None:
    table = table_with(entry("gpt-4o", "openai", prompt=7))
    assert table.price("gpt-4o", "openai") == Price(Rates(7 * USD, 2 * USD, 7 * USD))
    assert table.price("gpt-4o-mini", "openai") == PriceTable(build_list((), NOW)).price(
        "gpt-4o-mini", "openai"
    )


def test_an_entry_goes_before_the_ones_below_it() -> None:
    table = table_with(entry("llama-3", prompt=1), entry("llama-*", prompt=2), entry("*", prompt=3))
    found = [table.price(model, "local") for model in ("llama-3", "llama-4", "qwen")]
    assert [each.rates.prompt // USD for each in found if each] == [1, 2, 3]


def test_an_own_model_implies_its_provider_even_where_another_had_it() -> None:
    table = table_with(entry("llama-*"), entry("gpt-4o", "mirror"))
    assert table.provider_of("llama-3") == "local"
    assert table.provider_of("gpt-4o") == "mirror"
    assert table.provider_of("gpt-4o-mini") == "openai"
    assert table.knows("local")


def test_names_match_whatever_their_case_and_only_stars_and_marks_are_patterns() -> None:
    table = table_with(entry("My.Model-?"), entry("a*z"))
    known = ("my.model-1", "MY.MODEL-x", "az", "a/b/z")
    assert all(table.price(model, "local") for model in known)
    unknown = ("myxmodel-1", "my.model-", "my.model-12", "az1", "xaz", "az\n")
    assert [table.price(model, "local") for model in unknown] == [None] * 6


def test_a_pattern_never_takes_long() -> None:
    overrides = parse_overrides({"prices": [entry("a*" * 30 + "b")]}, Problems())
    # Each run is taken at its first place; else this would go back and try again, for ever.
    assert overrides[0].match.regex[0].count("(?>") == 29
    assert PriceTable(build_list(overrides, NOW)).price("a" * 256, "local") is None


def test_a_model_that_is_spelled_with_its_provider_is_known(built_in: PriceTable) -> None:
    assert built_in.price("perplexity/sonar", "perplexity") is not None
    assert built_in.price("perplexity/sonar", built_in.provider_of("perplexity/sonar")) is not None


def test_free_is_said_and_cached_tokens_cost_as_much_as_others_unless_said() -> None:
    table = table_with(
        entry("free", prompt=0, completion=0), entry("plain"), entry("cheap", cached=0.25)
    )
    assert table.price("free", "local") == Price(Rates(0, 0, 0))
    assert table.price("plain", "local") == Price(Rates(USD, 2 * USD, USD))
    assert table.price("cheap", "local") == Price(Rates(USD, 2 * USD, USD // 4))


@pytest.mark.parametrize(
    ("written", "nano"),
    [("0.1", 100_000_000), ("1e-9", 1), ("0.000000003", 3), ("1000000", 10**15)],
)
def test_a_price_is_what_is_written_to_the_last_digit(
    tmp_path: Path, written: str, nano: int
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"prices": [entry("m", prompt=0)]}).replace(": 0,", f": {written},"))
    prices = msgspec.json.decode(make_prices(load_overrides(path), NOW).json, type=PriceList)
    price = PriceTable(prices).price("m", "local")
    assert price is not None
    assert price.rates.prompt == nano


# -- Files that are not right


@pytest.mark.parametrize(
    ("document", "locations"),
    [
        ([], ["prices"]),
        ({}, ["prices"]),
        ({"prices": {}}, ["prices"]),
        ({"prices": [], "currency": "EUR"}, ["currency"]),
        ({"prices": [1, None]}, ["prices[0]", "prices[1]"]),
        ({"prices": [entry("m", cahced=1)]}, ["prices[0].cahced"]),
        ({"prices": [entry("")]}, ["prices[0].model"]),
        ({"prices": [entry("m", provider="")]}, ["prices[0].provider"]),
        ({"prices": [entry("m"), entry("m", prompt="one")]}, ["prices[1].prompt"]),
        ({"prices": [entry("m", prompt=True)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", prompt=None)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", prompt=-1)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", prompt=1_000_001)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", prompt=10**40)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", prompt=1e-10)]}, ["prices[0].prompt"]),
        ({"prices": [entry("m", cached=[])]}, ["prices[0].cached"]),
        (
            {"prices": [{"provider": 1}]},
            ["prices[0].provider", "prices[0].model", "prices[0].prompt"],
        ),
    ],
)
def test_faults_of_a_file_are_located_all_at_once(
    tmp_path: Path, document: Any, locations: list[str]
) -> None:
    problems = Problems()
    parse_overrides(document, problems)
    assert len(problems) == len(locations)
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(document))
    with pytest.raises(StartRefused) as caught:
        load_overrides(path)
    line = str(caught.value)
    assert line.startswith(f"PDP_PRICES_FILE: `{path}`: ")
    assert "\n" not in line
    for location in locations:
        assert f"{location}: " in line


@pytest.mark.parametrize(
    "content", [b"", b"{", b"prices:", b"\xff\xfe", b'{"prices": [1e999]}', b"[" * 100_000]
)
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.json"
    path.write_bytes(content)
    with pytest.raises(StartRefused, match=r"PDP_PRICES_FILE: .*prices.json` is not JSON: "):
        load_overrides(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match=r"PDP_PRICES_FILE: .*none.json`: no such file"):
        load_overrides(tmp_path / "none.json")
    with pytest.raises(StartRefused, match=r"PDP_PRICES_FILE: .*: is a directory"):
        load_overrides(tmp_path)


@given(st.text("ab*?.", min_size=1, max_size=5), st.text("ab.", max_size=5))
def test_a_pattern_that_is_looked_up_is_what_it_would_be_as_a_regex(model: str, name: str) -> None:
    rule = Override("local", model, Price(Rates(1, 1, 1))).match
    wanted = re.search(rf"^{pattern_of(model)}\Z", name) is not None
    assert rule.matches(name) == wanted
    assert MatchIndex([rule]).first(name) == (0 if wanted else None)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-*", "*-mini", "*gpt*", "*", "**"])
def test_a_plain_pattern_is_nothing_that_has_to_be_run(model: str) -> None:
    assert not Override("local", model, Price(Rates(1, 1, 1))).match.regex


def test_what_the_built_in_list_says_is_worked_out_once() -> None:
    before, after = (build_list((), moment).providers for moment in (NOW, NOW.replace(second=1)))
    pairs = [
        (one, other)
        for old, new in zip(before, after, strict=True)
        for one, other in zip(old.models, new.models, strict=True)
    ]
    assert len(pairs) > 500
    assert all(one is other for one, other in pairs)
