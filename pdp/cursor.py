"""Strict reading of JSON documents: each fault is noted with its place, none ends the reading."""

from collections.abc import Collection
from typing import Final

from pdp.problems import Problems
from pdp.wording import printable, shown

_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class Cursor:
    """A value of a document and its place (`policy.statements[2].effect`).

    Every reader returns None when it noted a fault of the value.
    """

    __slots__ = ("at", "problems", "value")

    def __init__(self, value: object, at: str, problems: Problems) -> None:
        self.value = value
        self.at = at
        self.problems = problems

    def fault(self, message: str) -> None:
        """Note a fault of this value."""
        self.problems.add(self.at, message)

    def expected(self, what: str) -> None:
        """Note that the value is of another type than `what`."""
        self.fault(f"must be {what}, not {_KINDS.get(type(self.value), 'something else')}")

    def fields(
        self, known: Collection[str], required: Collection[str] = (), noun: str = "field"
    ) -> "dict[str, Cursor] | None":
        """Return the known fields that are there; note the unknown and the missing ones."""
        if not isinstance(self.value, dict):
            self.expected("an object")
            return None
        found: dict[str, Cursor] = {}
        for name, value in self.value.items():
            if isinstance(name, str) and name in known:
                found[name] = Cursor(value, f"{self.at}.{name}", self.problems)
            else:
                place = f"{self.at}.{printable(str(name))}"
                self.problems.add(place, f"unknown {noun}: use one of {_all(known)}")
        for name in required:
            if name not in found:
                self.problems.add(f"{self.at}.{name}", "is required")
        return found

    def pairs(self) -> "list[tuple[str, Cursor]] | None":
        """Return the fields of an object with free names, at least one."""
        if not isinstance(self.value, dict):
            self.expected("an object")
            return None
        if not self.value:
            self.fault("must not be empty")
            return None
        return [
            (str(name), Cursor(value, f"{self.at}.{printable(str(name))}", self.problems))
            for name, value in self.value.items()
        ]

    def items(self, *, may_be_empty: bool = True) -> "list[Cursor] | None":
        """Return the items of a list."""
        if not isinstance(self.value, list):
            self.expected("a list")
            return None
        if not self.value and not may_be_empty:
            self.fault("must not be empty")
            return None
        return [
            Cursor(value, f"{self.at}[{index}]", self.problems)
            for index, value in enumerate(self.value)
        ]

    def text(self) -> str | None:
        """Return a string."""
        if isinstance(self.value, str):
            return self.value
        self.expected("a string")
        return None

    def flag(self) -> bool | None:
        """Return a boolean."""
        if isinstance(self.value, bool):
            return self.value
        self.expected("a boolean")
        return None

    def whole(self, least: int) -> int | None:
        """Return an integer of `least` or more; a boolean is not a number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.expected("an integer")
            return None
        if self.value < least:
            self.fault(f"must be {least} or more")
            return None
        return self.value

    def one_of(self, words: Collection[str]) -> str | None:
        """Return a string that is one of `words`."""
        word = self.text()
        if word is None or word in words:
            return word
        self.fault(f"{shown(word)} is unknown: use one of {_all(words)}")
        return None

    def pattern(self) -> str | None:
        """Return a glob: a string, not empty, printable."""
        text = self.text()
        if text is None:
            return None
        if not text:
            self.fault("must not be empty")
            return None
        if not text.isprintable():
            self.fault(f"{shown(text)} has characters that are not printable: remove them")
            return None
        return text

    def patterns(self, *, may_be_empty: bool = True) -> tuple[str, ...] | None:
        """Return a list of globs."""
        items = self.items(may_be_empty=may_be_empty)
        if items is None:
            return None
        found = tuple(text for item in items if (text := item.pattern()) is not None)
        return found if len(found) == len(items) else None


def _all(words: Collection[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
