"""USD to nano-USD and back."""

import msgspec
import pytest

from pdp.problems import Problems
from pdp.quota.estimate import prompt_tokens_of_bytes
from pdp.quota.money import format_usd, number_of_usd, parse_cost, parse_usd


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        (0, 0),
        (0.1, 100_000_000),
        (0.3, 300_000_000),
        (1e-9, 1),
        (5000.0, 5_000_000_000_000),
        (9_000_000, 9_000_000 * 10**9),
        (1234567.123456789, 1_234_567_123_456_789),
    ],
)
def test_a_number_is_what_its_author_wrote(value: float, nano: int) -> None:
    problems = Problems()
    assert parse_usd(value, "x", problems) == nano
    assert not len(problems)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.0"),
        (1, "1e-9"),
        (300_000_000, "0.3"),
        (8_388_607_999_999_999, "8388607.999999999"),
        (8_388_608_000_000_001, "8388608.000000001"),
        (9_000_000_000_000_001, "9000000.000000001"),
        (4_000_000_000_000_000_001, "4000000000.000000001"),
    ],
)
def test_a_sum_is_a_number_with_every_nano_usd(nano: int, text: str) -> None:
    written = msgspec.json.Encoder(decimal_format="number").encode(number_of_usd(nano)).decode()
    assert written == text


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("0.00525", 5_250_000),
        ("1e-7", 100),
        ("1E+2", 100 * 10**9),
        ("12.", 12 * 10**9),
        (".5", 500_000_000),
        ("0.0000000001", 1),
        ("0.1234567891", 123_456_790),
        ("1e-99", 1),
        ("0.00000000000000000000000000000000000000000000000000000000001", 1),
        ("9000000", 9_000_000 * 10**9),
    ],
)
def test_a_cost_is_exact_and_rounded_up(text: str, nano: int) -> None:
    assert parse_cost(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1\n",
        "-1",
        "-0",
        "+1",
        "nan",
        "inf",
        "Infinity",
        "1e999999999",
        "1e99",
        "9000000.000000001",
        "1_000",
        "1,5",
        "٣",
        "0x10",
        "$5",
        ".",
        "1" * 65,
    ],
)
def test_anything_else_is_no_cost(text: str) -> None:
    with pytest.raises(ValueError, match=r"USD|characters"):
        parse_cost(text)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (10**9, "1"),
        (12_500_000_000, "12.5"),
        (100 * 10**9, "100"),
        (9_000_000 * 10**9, "9000000"),
    ],
)
def test_money_is_shown_with_as_many_decimals_as_it_takes(nano: int, text: str) -> None:
    assert format_usd(nano) == text
    assert parse_cost(text) == nano


def test_a_prompt_is_estimated_by_its_size() -> None:
    assert [prompt_tokens_of_bytes(size, strict=False) for size in (0, 1, 4, 5)] == [0, 1, 1, 2]
    assert prompt_tokens_of_bytes(5, strict=True) == 5
