"""Token counts as providers tell them. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from pdp.model import TokenDetails, Units

COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_tokens",
    "cache_write_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "reasoning_tokens",
    "audio_seconds",
)
"""The names that providers tell token counts by; those of details by what they are of.

`cache_creation_1h_tokens` is Anthropic's `cache_creation.ephemeral_1h_input_tokens`,
`cache_write_tokens` OpenAI's of `prompt_tokens_details` or `input_tokens_details`; the
audio and image tokens are those of `prompt_tokens_details`, `input_tokens_details` or
`input_token_details`, and of `completion_tokens_details` or `output_tokens_details`, and
`reasoning_tokens` of the latter. `audio_seconds` is `usage.seconds` of a transcription.
"""

MAX_COUNT: Final = 1_000_000_000
_NAMES: Final = frozenset(COUNTS)
_NUMBERS: Final = (int, float)

_BYTES: Final = {"audio:speech": 200}
"""Bytes of a response for each of its tokens: speech as Opus of 32 kbit/s, 20 tokens a second."""

_BYTES_OF_TEXT: Final = 4
_BYTES_OF_EVENTS: Final = 32
"""Of a stream of text: Anthropic's events have several tokens in 150 bytes or more, OpenAI's
one in 270."""


def believed(told: Mapping[str, Any]) -> dict[str, int]:
    """Return what can be counts of what came under `COUNTS`; nonsense is not believed."""
    counts = {}
    # Few of the names are told: to look for each takes longer than all else here.
    for name, value in told.items():
        # A bool is no number.
        if name in _NAMES and type(value) in _NUMBERS and 0 <= value <= MAX_COUNT:
            counts[name] = math.ceil(value)
    return counts


class Counts(Struct, frozen=True, gc=False):
    """Tokens of a response; None for what nobody told. `cached` are a part of `prompt`.

    `units`: what it told beside tokens.
    """

    prompt: int | None
    completion: int | None
    cached: int
    details: TokenDetails | None = None
    units: Units | None = None


def counts_of(told: Mapping[str, int]) -> Counts:
    """Return the counts of a response from what it told under `COUNTS`.

    OpenAI says `prompt_tokens` and `completion_tokens`, in its Responses API
    `input_tokens` and `output_tokens`; `cached_tokens` are a part of the prompt. Anthropic
    says `input_tokens` and `output_tokens`, and what went through its cache beside them.
    Some leave reasoning out of the completion (xAI, Google); their total has it. A prompt of
    no tokens is a place that is filled in later (where a stream begins), or never.
    """
    prompt = told.get("prompt_tokens", told.get("input_tokens"))
    completion = told.get("completion_tokens", told.get("output_tokens"))
    cached = told.get("cached_tokens", 0)
    if prompt is not None:
        read = told.get("cache_read_input_tokens", 0)
        prompt += read + told.get("cache_creation_input_tokens", 0)
        cached += read
        if completion is not None:
            completion = max(completion, told.get("total_tokens", 0) - prompt)
    seconds = told.get("audio_seconds", 0)
    units = Units(seconds=seconds) if seconds else None
    if not prompt:
        return Counts(None, completion or None, cached, None, units)
    cached = min(prompt, cached)
    details = _details_of(told, prompt, completion or 0, cached)
    return Counts(prompt, completion, cached, details, units)


def _details_of(
    told: Mapping[str, int], prompt: int, completion: int, cached: int
) -> TokenDetails | None:
    """Return what is told of kinds of tokens, as far as it fits into the counts.

    Of sound and pictures in the cache nobody tells: what does not fit beside it was there.
    """
    if not _DETAILS & told.keys():
        return None
    left = prompt - cached
    written = told.get("cache_creation_input_tokens", 0) + told.get("cache_write_tokens", 0)
    write = min(written, left)
    heard = min(told.get("input_audio_tokens", 0), prompt - write)
    seen = min(told.get("input_image_tokens", 0), prompt - write - heard)
    over = max(0, heard + seen - (left - write))
    heard_cached = min(over, heard)
    spoken = min(told.get("output_audio_tokens", 0), completion)
    drawn = min(told.get("output_image_tokens", 0), completion - spoken)
    return TokenDetails(
        cache_write=write,
        cache_write_1h=min(told.get("cache_creation_1h_tokens", 0), write),
        input_audio=heard,
        cached_audio=heard_cached,
        input_image=seen,
        cached_image=over - heard_cached,
        output_audio=spoken,
        output_image=drawn,
        reasoning=min(told.get("reasoning_tokens", 0), completion - spoken - drawn),
    )


_DETAILS: Final = frozenset(
    {
        "cache_creation_input_tokens",
        "cache_write_tokens",
        "input_audio_tokens",
        "input_image_tokens",
        "output_audio_tokens",
        "output_image_tokens",
        "reasoning_tokens",
    }
)


class Shape(Struct, frozen=True, gc=False):
    """What every proxy sees of an answer's body. `size` in bytes, without framing.

    `events`: it is a stream of events. `encoded`: it is compressed, so that nobody has read it.
    """

    size: int
    events: bool = False
    encoded: bool = False


def shape_of(size: int, content_type: str, content_encoding: str) -> Shape:
    """Return the shape of an answer with such headers, empty where there are none."""
    return Shape(
        size,
        content_type.lower().startswith("text/event-stream"),
        content_encoding.strip().lower() not in ("", "identity"),
    )


def estimated_tokens(shape: Shape, most: int, action: str = "") -> int:
    """Return output tokens of an answer whose usage nobody told, by its bytes, bounded.

    Pictures are as many as were held, and so is what is compressed: their bytes say nothing.
    """
    if shape.encoded or action == "images:generate":
        return most
    usual = _BYTES_OF_EVENTS if shape.events else _BYTES_OF_TEXT
    return min(most, -(-shape.size // _BYTES.get(action, usual)))
