"""Text that must not be seen: a secret of the settings."""

from typing import final


@final
class Hidden:
    """A secret that shows stars wherever it is printed, logged or in a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __bool__(self) -> bool:
        """Tell whether there is any text."""
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        """Compare the secrets."""
        return isinstance(other, Hidden) and other._text == self._text

    def __hash__(self) -> int:
        """Return the hash of the secret."""
        return hash(self._text)

    def __repr__(self) -> str:
        """Return stars, however long the secret is."""
        return "Hidden('**********')" if self._text else "Hidden('')"
