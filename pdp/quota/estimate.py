"""How many tokens a prompt may have, judged by its size."""

from typing import Final

_BYTES_PER_TOKEN: Final = 4
"""Rule of thumb for English text; source: OpenAI, "What are tokens and how to count them?"."""


def prompt_tokens_of_bytes(size: int, strict: bool) -> int:
    """Return the tokens that `size` bytes of prompt are counted as, rounded up.

    `strict` counts each byte as a token: no tokenizer in use makes more.
    """
    return size if strict else -(-size // _BYTES_PER_TOKEN)
