"""One word at a time about trouble that every call meets."""

from time import monotonic
from typing import Final

_SECONDS: Final = 10.0


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
