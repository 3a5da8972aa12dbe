"""Money goes through decimals without loss."""

from contextlib import suppress
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pdp.problems import Problems
from pdp.quota.money import format_usd, parse_cost, parse_usd


@given(st.integers(0, 9_000_000 * 10**9))
def test_shown_and_read_again_is_the_same(nano: int) -> None:
    assert parse_cost(format_usd(nano)) == nano


@given(st.integers(0, 9_000_000 * 10**6))
def test_a_float_of_six_decimals_is_the_decimal_that_it_shows(micro: int) -> None:
    problems = Problems()
    assert parse_usd(float(Decimal(micro).scaleb(-6)), "x", problems) == micro * 1000
    assert not len(problems)


@given(st.text(max_size=70))
def test_text_is_a_cost_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_cost(text) <= 9_000_000 * 10**9
