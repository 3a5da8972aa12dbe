"""Prices as people write them: to the last digit, there and back, and nothing else."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pdp.control.price_document import FEES, RATES, parse_price, said, shown
from pdp.problems import Problems
from pdp.quota.cost import Price

NANO = st.integers(0, 20) | st.integers(0, 10**15)


def written(nano: int) -> str:
    """Return nano-USD as decimal text, made by other means than the code's."""
    text = format(Decimal(nano).scaleb(-9), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


AMOUNT = NANO.map(written)


def rates(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    others = dict.fromkeys(RATES[2:], AMOUNT)
    return st.fixed_dictionaries(
        {"prompt": AMOUNT, "completion": AMOUNT, **fields}, optional=others
    )


FEE = st.fixed_dictionaries({}, optional={name: AMOUNT for name in FEES if name != "per_minute"})
TIERS = st.lists(
    rates(above=st.integers(1, 10**9)), max_size=3, unique_by=lambda t: t["above"]
).map(lambda tiers: sorted(tiers, key=lambda tier: tier["above"]))
DOCUMENT = st.tuples(rates(tiers=TIERS), FEE).map(lambda parts: {**parts[0], **parts[1]})


def parsed(document: dict[str, Any]) -> Price:
    problems = Problems()
    price = parse_price(document, "", problems)
    assert price is not None, list(problems)
    return price


@given(DOCUMENT | FEE.filter(bool))
def test_what_is_shown_and_what_is_stored_say_the_same(document: dict[str, Any]) -> None:
    price = parsed(document)
    assert parsed(said(document)) == price
    assert parsed(shown(price)) == price
    assert said(said(document)) == said(document)


@given(NANO)
def test_an_amount_is_exact_as_a_string(nano: int) -> None:
    price = parsed({"prompt": written(nano), "completion": 0, "per_image": written(nano)})
    assert price.rates.prompt == nano
    assert price.fees is not None
    assert price.fees.image == nano * 1_000_000


@given(st.integers(0, 10**14))
def test_an_amount_is_exact_as_a_number_of_json(nano: int) -> None:
    text = written(nano)
    number = msgspec.json.decode(text.encode())
    assert parsed({"prompt": number, "completion": number}).rates.completion == nano


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("0123456789.eE+-_ nainf٣", max_size=24),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*RATES, "above"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*RATES, *FEES, "tiers", "currency"]), JUNK, max_size=5))
def test_any_document_is_a_price_or_has_located_faults(document: dict[str, Any]) -> None:
    problems = Problems()
    price = parse_price(document, "", problems)
    assert (price is None) == bool(problems)
    for problem in problems:
        assert problem.location.partition("[")[0].partition(".")[0] in (
            *document,
            "prompt",
            "completion",
        )
    if price is not None:
        assert price.cost(10**9, 10**9) >= 0
