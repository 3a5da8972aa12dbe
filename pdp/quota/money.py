"""USD as people and providers write it, to nano-USD and back, exactly."""

import re
from decimal import Decimal
from typing import Final

from pdp.problems import Problems

NANO: Final = 1_000_000_000
MOST_USD: Final = 9_000_000
"""Bound of any one amount: far below what 64 bits of nano-USD hold."""

MOST_SUM: Final = 2**62
"""Nano-USD that any sum goes up to: 64 bits hold it, on disk and in SQL."""

_DECIMALS: Final = 9
_EXACT: Final = 2**23 * NANO
"""Up to that two floats are less than a nano-USD apart."""
_LONGEST: Final = 64
_DECIMAL = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


def parse_usd(value: object, at: str, problems: Problems) -> int | None:
    """Return nano-USD of a JSON number, or None with the fault noted under `at`.

    Takes 0 to 9,000,000 with at most 9 decimals. A float stands for the shortest
    decimal that reads back as the same float: what the author wrote.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.add(at, "must be a number of USD")
        return None
    if not 0 <= value <= MOST_USD:
        problems.add(at, f"must be from 0 to {MOST_USD:,} USD")
        return None
    nano = _up_to_nano(Decimal(repr(value)))
    if Decimal(nano) != Decimal(repr(value)).scaleb(_DECIMALS):
        problems.add(at, f"must not have more than {_DECIMALS} decimals")
        return None
    return nano


def parse_cost(text: str) -> int:
    """Return nano-USD of a decimal string such as `0.00525` or `1e-7`, rounded up.

    Raises `ValueError` for anything but a plain amount from 0 to 9,000,000 USD.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"longer than {_LONGEST} characters: write a decimal such as `0.00525`")
    if not _DECIMAL.fullmatch(text):
        raise ValueError("not a decimal number of USD, 0 or more: write it like `0.00525`")
    nano = _up_to_nano(Decimal(text))
    if nano > MOST_USD * NANO:
        raise ValueError(f"more than {MOST_USD:,} USD: report each request by itself")
    return nano


def format_usd(nano: int) -> str:
    """Return USD without the unit, with as many decimals as it takes: `12.5`."""
    whole, fraction = divmod(nano, NANO)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def number_of_usd(nano: int) -> float | Decimal:
    """Return USD as a JSON number that has every nano-USD: beyond 8,388,608 USD no float does."""
    return nano / NANO if nano <= _EXACT else Decimal(nano).scaleb(-_DECIMALS)


def _up_to_nano(usd: Decimal) -> int:
    """Return a bounded, non-negative amount in nano-USD, rounded up, in integers throughout."""
    digits, exponent = usd.as_tuple().digits, int(usd.as_tuple().exponent) + _DECIMALS
    number = int("".join(map(str, digits)))
    if exponent >= 0:
        return int(number * 10**exponent)
    return int(-(-number // 10**-exponent))
