"""A price as people write it: USD per million tokens, by kind, and fees; see docs/prices.md.

{"prompt": "2.5", "completion": "10", "cached": "1.25",
 "tiers": [{"above": 200000, "prompt": "5", "completion": "20"}]}
{"per_image": "0.04"}
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from pdp.problems import Problems
from pdp.quota.cost import Fees, Price, Rates, Tier, fees_only, rates_of
from pdp.quota.money import NANO, format_usd
from pdp.wording import printable

RATES: Final = (
    "prompt",
    "completion",
    "cached",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "cached_audio",
    "input_image",
    "cached_image",
    "output_audio",
    "output_image",
    "reasoning",
)
"""USD per million tokens. What is not said costs what the kind does of which it is a part."""

FEES: Final = ("per_request", "per_image", "per_minute", "per_million_characters")
"""USD for a request, an image made, a minute of sound heard, a million characters said."""

PRICE_FIELDS: Final = (*RATES, *FEES, "tiers", "currency")
MOST_USD: Final = 1_000_000
MOST_TIERS: Final = 8
MOST_ABOVE: Final = 1_000_000_000

_DECIMALS: Final = 9
_NUMBER: Final = re.compile(r"-?[0-9]{1,7}(\.[0-9]{1,9})?")
_MILLION: Final = 1_000_000


def parse_price(entry: Mapping[str, Any], at: str, problems: Problems) -> Price | None:
    """Return the price that an entry says, exactly; None, and problems under `at`, if it says none.

    Other fields than `PRICE_FIELDS` are the caller's.
    """
    before = len(problems)
    if "currency" in entry and entry["currency"] != "USD":
        problems.add(f"{at}currency", "not USD: prices are in USD, convert them first")
    fees = {
        name: _amount(entry[name], f"{at}{name}", problems)
        for name in FEES
        if entry.get(name) is not None
    }
    by_token = entry.get("tiers") not in (None, []) or any(
        entry.get(name) is not None for name in RATES
    )
    if not by_token and not fees:
        problems.add(f"{at}prompt", f"needed, with completion; or one of {', '.join(FEES)}")
        return None
    price = fees_only(_fees(fees))
    if by_token:
        tiers = _tiers(entry.get("tiers"), f"{at}tiers", problems)
        price = Price(_rates(entry, at, problems), tiers, _fees(fees) if fees else None)
    return None if len(problems) > before else price


def _rates(entry: Mapping[str, Any], at: str, problems: Problems) -> Rates:
    found = {
        name: _amount(entry.get(name), f"{at}{name}", problems)
        for name in RATES
        if entry.get(name) is not None or name in ("prompt", "completion")
    }
    return rates_of(**found)


def _tiers(value: Any, at: str, problems: Problems) -> tuple[Tier, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_TIERS:
        problems.add(at, f"not a list of up to {MOST_TIERS} tiers")
        return ()
    found: list[Tier] = []
    for index, entry in enumerate(value):
        place = f"{at}[{index}]"
        if not isinstance(entry, dict):
            problems.add(place, "not an object")
            continue
        refuse_unknown(entry, ("above", *RATES), f"{place}.", problems)
        above = entry.get("above")
        if isinstance(above, bool) or not isinstance(above, int) or not 0 < above <= MOST_ABOVE:
            problems.add(f"{place}.above", f"not a whole number from 1 to {MOST_ABOVE:,}")
            above = 0
        elif found and above <= found[-1].above:
            problems.add(f"{place}.above", "not above the tier before it: order them")
        found.append(Tier(above, _rates(entry, f"{place}.", problems)))
    return tuple(found)


def refuse_unknown(
    entry: Mapping[str, Any], known: tuple[str, ...], at: str, problems: Problems
) -> None:
    """Note every field of an entry that is not known."""
    for name in entry:
        if name not in known:
            problems.add(
                f"{at}{printable(str(name))}", f"unknown field: use one of {', '.join(known)}"
            )


def _fees(fees: Mapping[str, int]) -> Fees:
    minute = fees.get("per_minute")
    return Fees(
        _times(fees.get("per_request")),
        _times(fees.get("per_image")),
        fees.get("per_million_characters"),
        None if minute is None else -(-minute * _MILLION // 60),
    )


def _times(nano: int | None) -> int | None:
    return None if nano is None else nano * _MILLION


def _amount(value: Any, at: str, problems: Problems) -> int:
    """Return USD as nano-USD, exactly; 0, and a problem, if it is none."""
    if value is None:
        problems.add(at, "needed where tokens are paid for")
        return 0
    amount = _decimal(value)
    if amount is None:
        problems.add(at, 'not a price in USD: write it like `2.5` or `"2.5"`')
        return 0
    if not amount.is_finite() or not 0 <= amount <= MOST_USD:
        problems.add(at, f"not between 0 and {MOST_USD:,} USD")
        return 0
    nano = amount * NANO
    if nano != nano.to_integral_value():
        problems.add(at, f"more than {_DECIMALS} decimals")
    return int(nano)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value))


def said(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a price that was parsed without fault as it is stored: decimal strings."""
    found: dict[str, Any] = _texts(entry, (*RATES, *FEES))
    if entry.get("tiers"):
        found["tiers"] = [
            {"above": tier["above"], **_texts(tier, RATES)} for tier in entry["tiers"]
        ]
    return found


def _texts(entry: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {name: _text(entry[name]) for name in names if entry.get(name) is not None}


def _text(value: Any) -> str:
    amount = _decimal(value)
    assert amount is not None, "it was parsed"
    return format_usd(int(amount * NANO))


def shown(price: Price) -> dict[str, Any]:
    """Return a price as `parse_price` takes it, all that it says: decimal strings, or null."""
    return {
        **(_rates_shown(price.rates) if price.by_token else dict.fromkeys(RATES)),
        **_fees_shown(price.fees or Fees()),
        "tiers": [{"above": tier.above, **_rates_shown(tier.rates)} for tier in price.tiers],
    }


def _rates_shown(rates: Rates) -> dict[str, str | None]:
    kinds = rates.kinds
    told = {"prompt": rates.prompt, "completion": rates.completion, "cached": rates.cached}
    for name in RATES[3:] if kinds is not None else ():
        rate: int = getattr(kinds, name)
        if rate != next(told[each] for each in _USUAL[name] if each in told):
            told[name] = rate
    return {name: format_usd(told[name]) if name in told else None for name in RATES}


_USUAL: Final = {
    "cache_write": ("prompt",),
    "cache_write_1h": ("cache_write", "prompt"),
    "input_audio": ("prompt",),
    "cached_audio": ("input_audio", "cached"),
    "input_image": ("prompt",),
    "cached_image": ("input_image", "cached"),
    "output_audio": ("completion",),
    "output_image": ("completion",),
    "reasoning": ("completion",),
}
"""Whose rate a kind has that has none of its own: the first of these that has."""


def _fees_shown(fees: Fees) -> dict[str, str | None]:
    def usd(value: int | None, of: Callable[[int], int]) -> str | None:
        return None if value is None else format_usd(of(value))

    return {
        "per_request": usd(fees.request, lambda each: -(-each // _MILLION)),
        "per_image": usd(fees.image, lambda each: -(-each // _MILLION)),
        # It was rounded up to a nano-USD for a million seconds.
        "per_minute": usd(fees.second, lambda each: (each * 60 + _MILLION // 2) // _MILLION),
        "per_million_characters": usd(fees.character, int),
    }
