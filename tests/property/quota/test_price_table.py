"""The indexed price table against one that asks rule by rule, over the whole list."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain

import pytest
from genai_prices import data
from hypothesis import example, given
from hypothesis import strategies as st

from pdp.control.price_overrides import parse_overrides
from pdp.control.prices import build_list
from pdp.policy.glob import pattern_of
from pdp.problems import Problems
from pdp.quota.match import Match, MatchIndex
from pdp.quota.price import Price, PriceList, PriceTable, ProviderPrices
from tests.examples import TIMES

OWN = [
    {"provider": provider, "model": model, "prompt": price, "completion": price}
    for price, (provider, model) in enumerate(
        [
            ("local", "llama-*"),
            ("local", "local/*-?b"),
            ("openai", "*turbo*"),
            ("perplexity", "*-sonar"),
            ("mirror", "??"),
            ("mirror", "*"),
        ]
    )
]


def built(*own: dict[str, object]) -> PriceList:
    return build_list(
        parse_overrides({"prices": list(own)}, Problems()), datetime(2026, 11, 23, 12, tzinfo=UTC)
    )


LISTS: Sequence[PriceList] = (built(), built(*OWN))
TABLES: Sequence[PriceTable] = tuple(map(PriceTable, LISTS))
EVERY, WITH_OWN = slice(None), slice(1, None)


def texts(clause: object) -> list[str]:
    """Return every text in a clause."""
    parts = getattr(clause, "or_", None) or getattr(clause, "and_", None)
    if parts:
        return list(chain.from_iterable(map(texts, parts)))
    return [value for value in vars(clause).values() if isinstance(value, str)]


MODELS = [(each.id, model) for each in data.providers for model in each.models]
NAMES = sorted({text for _, model in MODELS for text in (model.id, *texts(model.match))})
PROVIDERS = [*(each.id for each in LISTS[1].providers), "nobody", "unknown"]
FRAGMENTS = ("claude", "gemini", "-tts", "gpt-", "/", "20250101", "2026-01-01", "turbo", "llama-")


def naive_provider(prices: PriceList, model: str) -> str:
    name = model.lower()
    vendor, slash, _ = name.partition("/")
    if slash and any(vendor == each.id for each in prices.providers):
        return vendor
    makers = [each for each in prices.providers if each.implied_by is not None]
    for maker in makers:
        if maker.implied_by is not None and maker.implied_by.matches(name):
            return maker.id
    for maker in makers:
        if any(entry.match.matches(name) for entry in maker.models):
            return maker.id
    return "unknown"


def naive_price(prices: PriceList, model: str, provider_id: str) -> Price | None:
    by_id = {each.id: each for each in prices.providers}
    if provider_id not in by_id:
        return None
    provider, full = by_id[provider_id], model.lower()
    bare = full.removeprefix(f"{provider_id}/")
    for seller in (provider, *(by_id[each] for each in provider.fallbacks if each in by_id)):
        names = {full} if spells(seller, full) else {full, bare}
        for entry in seller.models:
            if any(entry.match.matches(name) for name in names):
                return entry.price
    return None


def spells(seller: ProviderPrices, name: str) -> bool:
    return any(name in entry.match.equals for entry in seller.models)


def assert_same(name: str, *providers: str, of: slice = EVERY) -> None:
    for prices, table in zip(LISTS[of], TABLES[of], strict=True):
        derived = naive_provider(prices, name)
        assert table.provider_of(name) == derived
        for provider in {derived, *providers}:
            assert table.price(name, provider) == naive_price(prices, name, provider)


def test_the_names_of_the_list_are_looked_up_as_if_rule_by_rule() -> None:
    assert len(MODELS) > 1000
    for provider, model in MODELS if TIMES > 1 else MODELS[::5]:
        assert_same(model.id, provider, of=WITH_OWN)
        assert_same(f"{provider}/{model.id}", provider, of=WITH_OWN)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A name of the list, cut, joined, doubled or with something in it."""
    name = draw(st.sampled_from(NAMES))
    where = draw(st.integers(0, len(name)))
    middle = draw(st.sampled_from(("", *FRAGMENTS)) | st.text("abcgz019-./:@", max_size=6))
    rest = draw(
        st.sampled_from((name[where:], name[where + 1 :], "", draw(st.sampled_from(NAMES))))
    )
    mixed = name[:where] + middle + rest
    return draw(
        st.sampled_from((mixed, mixed.upper(), f"{draw(st.sampled_from(PROVIDERS))}/{mixed}"))
    )


@given(
    mutated() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    st.sampled_from(PROVIDERS),
)
@example("", "openai")
@example("perplexity/sonar", "perplexity")
@example("gemini-2.5-pro-preview-TTS", "google")
@example("azure/gpt-4o", "azure")
@example("ab", "mirror")
def test_any_name_is_looked_up_as_if_rule_by_rule(name: str, provider: str) -> None:
    assert_same(name, provider)


SHORT = st.text("ab/", max_size=4)
RULES = st.recursive(
    st.builds(
        Match,
        **{
            field: st.lists(SHORT, max_size=2).map(tuple)
            for field in ("equals", "starts_with", "ends_with", "contains")
        },
        regex=st.lists(
            st.text("ab/*?", max_size=5).map(lambda glob: rf"^{pattern_of(glob)}\Z")
            | st.sampled_from(
                [
                    "^a",
                    "^ab?",
                    "^ab*/",
                    "^abb{0}",
                    "^a|b",
                    r"^a\/b$",
                    "^(?!.*b)",
                    "^aab+",
                    "b$",
                    "^",
                ]
            ),
            max_size=1,
        ).map(tuple),
    ),
    lambda rules: st.builds(Match, every=st.tuples(st.lists(rules, max_size=2).map(tuple))),
    max_leaves=3,
)


@given(st.lists(RULES, max_size=6), st.text("ab/", max_size=7))
def test_the_first_rule_that_matches_is_found(rules: list[Match], name: str) -> None:
    places = [place for place, rule in enumerate(rules) if rule.matches(name)]
    assert MatchIndex(rules).first(name) == (places[0] if places else None)


def test_an_unknown_name_asks_no_rule_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> bool:
        raise AssertionError("a rule was asked")

    table = PriceTable(LISTS[0])
    monkeypatch.setattr(Match, "matches", asked)
    for number in range(3000):
        for name in (f"random-{number}", f"nobody/random-{number}"):
            assert table.provider_of(name) == "unknown"
            assert table.price(name, "openrouter") is None
    assert not table._price_memo
    assert not table._provider_memo
