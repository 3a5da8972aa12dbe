"""Token counts as providers tell them. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
"""The names that providers tell token counts by."""

MAX_COUNT: Final = 1_000_000_000


def believed(told: Mapping[str, Any]) -> dict[str, int]:
    """Return what can be counts of what came under `COUNTS`; nonsense is not believed."""
    counts = {}
    for name in COUNTS:
        value = told.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if 0 <= value <= MAX_COUNT:
            counts[name] = int(value)
    return counts


class Counts(Struct, frozen=True, gc=False):
    """Tokens of a response; None for what nobody told. `cached` are a part of `prompt`."""

    prompt: int | None
    completion: int | None
    cached: int


def counts_of(told: Mapping[str, int]) -> Counts:
    """Return the counts of a response from what it told under `COUNTS`.

    OpenAI says `prompt_tokens` and `completion_tokens`, in its Responses API
    `input_tokens` and `output_tokens`; `cached_tokens` are a part of the prompt. Anthropic
    says `input_tokens` and `output_tokens`, and what went through its cache beside them.
    """
    prompt = told.get("prompt_tokens", told.get("input_tokens"))
    completion = told.get("completion_tokens", told.get("output_tokens"))
    cached = told.get("cached_tokens", 0)
    if prompt is not None:
        read = told.get("cache_read_input_tokens", 0)
        prompt += read + told.get("cache_creation_input_tokens", 0)
        cached += read
    return Counts(prompt, completion, cached)


def estimated_tokens(response_bytes: int, most: int) -> int:
    """Return output tokens of a response whose usage nobody told: a token in 4 bytes, bounded."""
    return min(most, math.ceil(response_bytes / 4))
