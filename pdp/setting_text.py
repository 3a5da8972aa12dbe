"""How the text of a setting is read. Readers raise `ValueError` with what is wrong with it.

By hand: the library that did it took 0.1 s of each start and 10 MB of the data plane
(docs/adr/0038-settings-are-read-by-hand.md).
"""

import math
import re
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from pdp.counters.redis.address import parse_address
from pdp.hidden import Hidden

_INTEGER: Final = re.compile(r"[+-]?[0-9]+(_[0-9]+)*(\.0+)?")
_SHORTEST_TOKEN: Final = 16
_WORDS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


class Reader(Protocol):
    """What makes a setting's value of its text."""

    def __call__(self, text: str) -> object:
        """Return the value. Raises `ValueError`."""
        ...


class Whole(Struct, frozen=True):
    """An integer from `least` to `most`; None: as great as you like."""

    least: int
    most: int | None = None

    def __call__(self, text: str) -> int:
        """Read `5`, `1_000` or `5.0`."""
        if not _INTEGER.fullmatch(text.strip()):
            raise ValueError("use a whole number")
        value = int(text.partition(".")[0])
        _check_range(value, self.least, self.most)
        return value


class Seconds(Struct, frozen=True):
    """A duration from `least` to `most` seconds."""

    least: float
    most: float

    def __call__(self, text: str) -> float:
        """Read `5`, `0.5` or `1e3`."""
        try:
            value = float(text.encode("ascii"))
        except ValueError:
            raise ValueError("use a number") from None
        if not math.isfinite(value):
            raise ValueError("use a number")
        _check_range(value, self.least, self.most)
        return value


def _check_range(value: float, least: float, most: float | None) -> None:
    if value < least:
        raise ValueError(f"use {least} or more")
    if most is not None and value > most:
        raise ValueError(f"use {most} or less")


class Choice(Struct, frozen=True):
    """One of some words, or of some numbers."""

    values: tuple[str | int, ...]

    def __call__(self, text: str) -> str | int:
        """Read it as it is written here."""
        for value in self.values:
            if text == str(value):
                return value
        shown = [f"`{value}`" if isinstance(value, str) else str(value) for value in self.values]
        raise ValueError(f"use {', '.join(shown[:-1])} or {shown[-1]}")


class Secret(Struct, frozen=True):
    """Text of `least` characters or more that is not shown."""

    least: int = 0

    def __call__(self, text: str) -> Hidden:
        """Hide it."""
        if len(text) < self.least:
            raise ValueError(f"use {self.least} characters or more")
        return Hidden(text)


def token(text: str) -> Hidden:
    """Read a secret that a header can carry, as it is."""
    if len(text) < _SHORTEST_TOKEN:
        raise ValueError(f"use {_SHORTEST_TOKEN} characters or more, or unset it")
    if not (text.isascii() and text.isprintable() and text == text.strip()):
        raise ValueError(
            "no header can carry it: use ASCII without a line break, tabs, or spaces at an end"
        )
    return Hidden(text)


class PathOf(Struct, frozen=True):
    """The path of a file or a folder, `what`."""

    what: str

    def __call__(self, text: str) -> Path:
        """Refuse an empty name: it would be the working directory, whatever that is."""
        if not text.strip():
            raise ValueError(f"is empty: name a {self.what}, or unset it")
        return Path(text)


def switch(text: str) -> bool:
    """Read `true` or `false`, `1` or `0`, `yes` or `no`, `on` or `off`."""
    value = _WORDS.get(text.lower())
    if value is None:
        raise ValueError("use `true` or `false`")
    return value


def filled(text: str) -> str:
    """Read text that is not empty."""
    if not text:
        raise ValueError("is empty: unset it, or give it a value")
    return text


def address(text: str) -> str:
    """Read `host:port` or `unix:/path`."""
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("use `unix:/path`")
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("use `host:port` or `unix:/path`")
    return text


def udp_address(text: str) -> str:
    """Read `host:port` or `off`."""
    if text == "off":
        return text
    if text.startswith("unix:"):  # Of ten lines four get lost there.
        raise ValueError("use `host:port`, or `off`")
    return address(text)


def redis_server(text: str) -> Hidden:
    """Read what `parse_address` takes."""
    parse_address(text)
    return Hidden(text)
