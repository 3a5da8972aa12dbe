"""Collect every fault of a document before giving up on it."""

from collections.abc import Iterator

from pdp.errors import InvalidDocument, Problem


class Problems:
    """The faults found so far, each with its location (`policy.statements[2].effect`)."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, location: str, message: str) -> None:
        """Note one fault; the message is lower case, without full stop, input in backticks."""
        self._found.append(Problem(location, message))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def raise_if_any(self) -> None:
        """Raise `InvalidDocument` with all of them, if there are any."""
        if self._found:
            raise InvalidDocument(self._found)
