"""Prices: plain tables and pure look-ups.

Prices are integers in nano-USD per million tokens: many real prices are
fractions of a nano-dollar a token. Unknown is None, never 0.
"""

from msgspec import Struct


class Price(Struct, frozen=True):
    """nano-USD per million tokens; `cached` is for prompt tokens that the provider had cached."""

    prompt: int
    completion: int
    cached: int

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> int:
        """Return the cost in nano-USD, summed first and rounded up once."""
        total = (
            (prompt_tokens - cached_tokens) * self.prompt
            + cached_tokens * self.cached
            + completion_tokens * self.completion
        )
        return -(-total // 1_000_000)
