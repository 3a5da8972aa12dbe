"""How many tokens a prompt may have, and how long sound may be, judged by size."""

from typing import Final

_BYTES_PER_TOKEN: Final = 4
"""Rule of thumb for English text; source: OpenAI, "What are tokens and how to count them?"."""

_BYTES_PER_SECOND: Final = 1000
"""Speech at 8 kbit/s, the least that MP3 has."""

_BYTES_PER_SECOND_STRICT: Final = 20
"""Silence as FLAC of 8 kHz, in the longest frames that its streamable subset has: 24 bytes."""

_TOKENS_PER_SECOND: Final = 32
"""What models hear in a second of sound; source: Google, "Understand and count tokens" (OpenAI's
need a third of it)."""

TOKENS_OF_IMAGE_READ: Final = 7_000
"""The most that a picture counts as which is to be changed: 6,240 for a high input fidelity and
a few hundred for its tiles; source: OpenAI, "Image generation", input image tokens."""


def prompt_tokens_of_bytes(size: int, strict: bool) -> int:
    """Return the tokens that `size` bytes of prompt are counted as, rounded up.

    `strict` counts each byte as a token: no tokenizer in use makes more.
    """
    return size if strict else -(-size // _BYTES_PER_TOKEN)


def seconds_of_sound(size: int, strict: bool) -> int:
    """Return the seconds that `size` bytes of recorded speech are taken for, rounded up.

    Only `strict` is a bound, and that of what encoders make: an empty sound may be made longer.
    """
    return -(-size // (_BYTES_PER_SECOND_STRICT if strict else _BYTES_PER_SECOND))


def tokens_of_sound(seconds: int) -> int:
    """Return the most tokens that seconds of sound are."""
    return seconds * _TOKENS_PER_SECOND
