"""Schemas of prices."""

from typing import Any, Final

from pdp.control.price_book import STATUSES
from pdp.control.price_document import FEES, MOST_ABOVE, MOST_TIERS, MOST_USD, RATES
from pdp.rest.openapi.schema import (
    COUNT,
    TEXT,
    Schema,
    closed,
    full,
    instant,
    listed,
    nullable,
    one_of,
    ref,
    text,
    whole,
)

_WORDS: Final = {
    "prompt": "USD per million tokens of the prompt.",
    "completion": "USD per million tokens of the output.",
    "cached": "Of the prompt, from the provider's cache; else as `prompt`.",
    "cache_write": "Of the prompt, into the provider's cache; else as `prompt`.",
    "cache_write_1h": "Of those, for an hour; else as `cache_write`.",
    "input_audio": "Of the prompt, sound; else as `prompt`.",
    "cached_audio": "Sound from the cache; else as `input_audio`, else as `cached`.",
    "input_image": "Of the prompt, pictures; else as `prompt`.",
    "cached_image": "Pictures from the cache; else as `input_image`, else as `cached`.",
    "output_audio": "Of the output, sound; else as `completion`.",
    "output_image": "Of the output, pictures; else as `completion`.",
    "reasoning": "Of the output, what only the model sees; else as `completion`.",
    "per_request": "USD for each request.",
    "per_image": "USD for each image that is made.",
    "per_minute": "USD for a minute of sound that is listened to.",
    "per_million_characters": "USD per million characters that are spoken.",
}


def _amount(name: str) -> Schema:
    amount: dict[str, Any] = {
        "anyOf": [
            {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?$"},
            {"type": "number", "minimum": 0, "maximum": MOST_USD},
            {"type": "null"},
        ],
        "description": _WORDS[name],
    }
    return amount


def _told(name: str) -> Schema:
    return {**nullable(TEXT), "description": _WORDS[name]}


_NAME: Final = text(256, pattern="^[!-~]{1,256}$")
_TIER: Final = closed(
    {
        "above": whole(MOST_ABOVE, 1, "Tokens of a prompt that has more of them."),
        **{name: _amount(name) for name in RATES},
    },
    ["above", "prompt", "completion"],
    "The prices of all tokens of a request with a longer prompt.",
)
_TOLD: Final = {
    **{name: _told(name) for name in (*RATES, *FEES)},
    "tiers": listed(full({"above": COUNT, **{name: _told(name) for name in RATES}})),
    "currency": one_of(("USD",)),
}

_NEW: Final = {
    "provider": {**_NAME, "description": "Exactly as requests or routes name it."},
    "model": {**_NAME, "description": "A name, or a pattern with `*` and `?`."},
    **{name: _amount(name) for name in (*RATES, *FEES)},
    "tiers": nullable({**listed(_TIER), "maxItems": MOST_TIERS}),
    "currency": one_of(("USD",)),
    "effective_from": nullable(instant("Default: now. Not in the past.")),
    "effective_until": nullable(instant("Default: for good.")),
}
_NEEDED: Final = (
    "`prompt` and `completion`, or what a request, an image, a minute or characters cost."
)
_OWN: Final = {
    "id": TEXT,
    "status": one_of(STATUSES),
    "created_at": instant(),
    "created_by": TEXT,
    "version": COUNT,
}

PRICE_SCHEMAS: Final[dict[str, Schema]] = {
    "NewPrice": closed(_NEW, ["provider", "model"], _NEEDED),
    "ChangedPrice": closed(
        {**_NEW, **_OWN},
        ["provider", "model"],
        f"{_NEEDED} What only an answer has may be left out, or be as it was there.",
    ),
    "Price": closed(
        {
            **_OWN,
            "provider": TEXT,
            "model": TEXT,
            **_TOLD,
            "effective_from": instant(),
            "effective_until": nullable(instant()),
            "idempotent_replayed": {"type": "boolean"},
        },
        [
            *_OWN,
            *("provider", "model", *_TOLD, "effective_from", "effective_until"),
        ],
    ),
    "PriceList": full({"prices": listed(ref("Price")), "next_cursor": nullable(TEXT)}),
    "PriceOfModel": full(
        {
            "model": TEXT,
            "provider": TEXT,
            "source": nullable(one_of(("override", "file", "built_in"))),
            "matched": nullable(TEXT),
            "price_id": nullable(TEXT),
            "price": nullable(full(_TOLD)),
            "changes_at": nullable(instant()),
        },
    ),
}
