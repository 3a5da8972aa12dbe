"""The operator's own prices: `PDP_PRICES_FILE`, a JSON file.

    {"prices": [{"provider": "local", "model": "llama-*",
                 "prompt": 0.1, "completion": 0.2, "cached": 0.05}]}

USD per million tokens; `cached` defaults to `prompt`; `model` may have `*` and
`?`; 0 is free. An entry goes before the ones below it and before all built-in ones.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pdp.errors import InvalidDocument, StartRefused
from pdp.policy.glob import pattern_of
from pdp.problems import Problems
from pdp.quota.match import Match
from pdp.quota.price import Price, Rates

_NANO = 1_000_000_000
_MAX = 1_000_000
_FIELDS = ("provider", "model", "prompt", "completion", "cached")


class Override(Struct, frozen=True):
    """One entry of the file."""

    provider: str
    match: Match
    price: Price


def load_overrides(path: Path) -> tuple[Override, ...]:
    """Read the file. Raises `StartRefused`, naming the setting and the place."""
    problems = Problems()
    try:
        overrides = parse_overrides(msgspec.json.decode(path.read_bytes()), problems)
        problems.raise_if_any()
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise StartRefused(f"PDP_PRICES_FILE: `{path}`: {reason}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StartRefused(f"PDP_PRICES_FILE: `{path}` is not JSON: {error}") from error
    except InvalidDocument as error:
        raise StartRefused(f"PDP_PRICES_FILE: `{path}`: {error}") from error
    return overrides


def parse_overrides(document: Any, problems: Problems) -> tuple[Override, ...]:
    """Return the entries of the document; faults go to `problems`."""
    if not isinstance(document, dict) or not isinstance(document.get("prices"), list):
        problems.add("prices", 'not a list: use {"prices": [...]}')
        return ()
    for name in document.keys() - {"prices"}:
        problems.add(str(name), "unknown field: use prices")
    found = (
        _override(entry, f"prices[{index}]", problems)
        for index, entry in enumerate(document["prices"])
    )
    return tuple(override for override in found if override is not None)


def _override(entry: Any, at: str, problems: Problems) -> Override | None:
    if not isinstance(entry, dict):
        problems.add(at, "not an object")
        return None
    before = len(problems)
    for name in entry.keys() - set(_FIELDS):
        problems.add(f"{at}.{name}", f"unknown field: use one of {', '.join(_FIELDS)}")
    for name in ("provider", "model"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            problems.add(f"{at}.{name}", "not a name")
    prompt = _price(entry.get("prompt"), f"{at}.prompt", problems)
    completion = _price(entry.get("completion"), f"{at}.completion", problems)
    cached = prompt
    if entry.get("cached") is not None:
        cached = _price(entry["cached"], f"{at}.cached", problems)
    if len(problems) > before:
        return None
    price = Price(Rates(prompt, completion, cached))
    return Override(entry["provider"], _match(entry["model"]), price)


def _price(value: Any, at: str, problems: Problems) -> int:
    """Return USD per million tokens as nano-USD, exactly; 0, and a problem, if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        problems.add(at, "not a price in USD per million tokens")
        return 0
    amount = Decimal(repr(value))
    if not amount.is_finite() or not 0 <= amount <= _MAX:
        problems.add(at, f"`{value}` is not between 0 and {_MAX:,}")
        return 0
    nano = amount * _NANO
    if nano != nano.to_integral_value():
        problems.add(at, f"`{value}` has more than 9 decimals")
    return int(nano)


def _match(model: str) -> Match:
    name = model.lower()
    if "*" not in name and "?" not in name:
        return Match(equals=(name,))
    return Match(regex=(rf"^{pattern_of(name)}\Z",))
