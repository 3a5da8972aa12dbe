"""The operator's own prices, from the file and from the database.

`PDP_PRICES_FILE` is a JSON file; docs/prices.md has the fields:

    {"prices": [{"provider": "local", "model": "llama-*",
                 "prompt": 0.1, "completion": 0.2, "cached": 0.05}]}

`model` may have `*` and `?`; 0 is free. An entry goes before the ones below it and before
all built-in ones.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from pdp.control.price_document import PRICE_FIELDS, parse_price, refuse_unknown
from pdp.errors import InvalidDocument, StartRefused
from pdp.policy.glob import pattern_of
from pdp.problems import Problems
from pdp.quota.cost import Price
from pdp.quota.match import Match

_FIELDS: Final = ("provider", "model", *PRICE_FIELDS)


class Override(Struct, frozen=True):
    """The price of the models that `model` stands for. `price_id` empty: it is of the file.

    Entries of the file also say whose such models are, where nobody names a provider; those
    of the database do so only of models that nobody else has: a price opens no policy.
    """

    provider: str
    model: str
    price: Price
    price_id: str = ""

    @property
    def match(self) -> Match:
        """The rule over names of models, in lower case."""
        name = self.model.lower()
        middle = name.strip("*")
        if is_pattern(middle):
            return Match(regex=(rf"^{pattern_of(name)}\Z",))
        # What is a text by itself is looked up: a regex is run for each name that nobody knows.
        begins, ends = not name.startswith("*"), not name.endswith("*")
        if begins and ends:
            return Match(equals=(name,))
        if begins or not middle:
            return Match(starts_with=(middle,))
        return Match(ends_with=(middle,)) if ends else Match(contains=(middle,))


def is_pattern(model: str) -> bool:
    """Tell whether a name stands for many models."""
    return "*" in model or "?" in model


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
    refuse_unknown(entry, _FIELDS, f"{at}.", problems)
    for name in ("provider", "model"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            problems.add(f"{at}.{name}", "not a name")
    price = parse_price(entry, f"{at}.", problems)
    if len(problems) > before or price is None:
        return None
    return Override(entry["provider"], entry["model"], price)
