"""RFC 3339 times become exact ns."""

import pytest

from pdp.policy.moment import parse_instant


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 1_000_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("2024-06-03T14:00:00+05:45", 1_717_402_500_000_000_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
    ],
)
def test_a_time_with_offset(text: str, ns: int) -> None:
    assert parse_instant(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-06-03",
        "2024-06-03T14:00:00",
        "2024-06-03 14:00:00Z",
        "2024-06-03T14:00Z",
        "2024-06-03T14:00:60Z",
        "2024-06-03T24:00:00Z",
        "2024-02-30T14:00:00Z",
        "2024-06-03T14:00:00.Z",
        "2024-06-03T14:00:00.1234567890Z",
        "2024-06-03T14:00:00+0200",
        "2024-06-03T14:00:00+25:00",
        "2024-06-03T14:00:00Z\n",
        "٢٠٢٤-06-03T14:00:00Z",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_instant(text) is None
