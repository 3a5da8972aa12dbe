"""One word at a time about trouble that every call meets."""

from time import monotonic
from typing import Final

_SECONDS: Final = 10.0
_MOST_KINDS: Final = 100


class Quiet:
    """True when it is time for another word; then not again for ten seconds."""

    def __init__(self) -> None:
        self._until = 0.0

    def over(self) -> bool:
        """Tell whether to speak; who is told so speaks."""
        now = monotonic()
        if now < self._until:
            return False
        self._until = now + _SECONDS
        return True


class Kinds:
    """Words of several kinds, each with its own silence; what is passed over is counted."""

    def __init__(self) -> None:
        self._quiet: dict[str, Quiet] = {}
        self._passed_over: dict[str, int] = {}

    def over(self, kind: str) -> int | None:
        """Return how many were passed over when it is time to speak; None: it is not.

        Beyond a hundred kinds the next ones are never spoken of.
        """
        if kind not in self._quiet and len(self._quiet) >= _MOST_KINDS:
            return None
        if self._quiet.setdefault(kind, Quiet()).over():
            return self._passed_over.pop(kind, 0)
        self._passed_over[kind] = self._passed_over.get(kind, 0) + 1
        return None
