"""Globs (`*` any characters, `?` one, all else literal) and tables of many of them.

A table is asked for one name and touches only the globs that share the name's
literal head or tail, so its cost does not grow with the globs that cannot match.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Generic, TypeVar

T = TypeVar("T")

Matcher = Callable[[str], object]
_WILD: Final = re.compile(r"[*?]")


@lru_cache(maxsize=4096)
def matcher_of(glob: str) -> Matcher:
    """Return a function that tells (truthy or not) whether a whole name matches."""
    return re.compile(pattern_of(glob), re.DOTALL).fullmatch


def pattern_of(glob: str) -> str:
    """Return a regular expression that matches a whole name where the glob does.

    Each literal run between stars is matched atomically at its first place:
    right for globs, and never exponential, whoever wrote the pattern.
    """
    head, *rest = (_literal(run) for run in glob.split("*"))
    if not rest:
        return head
    *middle, tail = rest
    body = "".join(f"(?>.*?{run})" for run in middle if run)
    return f"{head}{body}.*{tail}"


def _literal(run: str) -> str:
    return ".".join(re.escape(part) for part in run.split("?"))


def _is_sure(glob: str) -> bool:
    """Tell whether sharing the head and the tail is enough: one star, and only one side."""
    return (glob.startswith("*") or glob.endswith("*")) and len(_WILD.findall(glob)) == 1


class GlobTable(Generic[T]):
    """Immutable: items filed under globs; `find` returns those whose glob matches a name."""

    __slots__ = ("_exact", "_heads", "_tails")

    def __init__(self, filed: Iterable[tuple[str, T]]) -> None:
        exact: dict[str, list[T]] = {}
        heads: dict[int, dict[str, list[_Item[T]]]] = {}
        tails: dict[int, dict[str, list[_Item[T]]]] = {}
        sure: dict[int, _Item[T]] = {}
        for glob, item in filed:
            runs = _WILD.split(glob)
            if len(runs) == 1:
                exact.setdefault(glob, []).append(item)
                continue
            # A statement has many globs, most of them sure: their pairs are one.
            pair = (
                sure.setdefault(id(item), (None, item))
                if _is_sure(glob)
                else (matcher_of(glob), item)
            )
            head, tail = runs[0], runs[-1]
            shelf, end = (heads, head) if head or not tail else (tails, tail)
            shelf.setdefault(len(end), {}).setdefault(end, []).append(pair)
        self._exact = {name: tuple(items) for name, items in exact.items()}
        self._heads = _shelves_of(heads)
        self._tails = _shelves_of(tails)

    def find(self, name: str) -> list[T]:
        """Return the items of every glob that matches, an item once for each such glob."""
        found = list(self._exact.get(name, ()))
        for length, shelf in self._heads:
            for matcher, item in shelf.get(name[:length], ()):
                if matcher is None or matcher(name):
                    found.append(item)
        for length, shelf in self._tails:
            for matcher, item in shelf.get(name[-length:], ()):
                if matcher is None or matcher(name):
                    found.append(item)
        return found

    def has(self, name: str) -> bool:
        """Tell whether any glob matches."""
        return name in self._exact or bool(self.find(name))


_Item = tuple[Matcher | None, T]


def _shelves_of(
    ends: dict[int, dict[str, list[_Item[T]]]],
) -> tuple[tuple[int, dict[str, tuple[_Item[T], ...]]], ...]:
    """Return shelves by the length of what they are asked by; tuples are smaller than lists."""
    return tuple(
        (length, {end: tuple(items) for end, items in shelf.items()})
        for length, shelf in ends.items()
    )


def table_of(globs: Iterable[str]) -> GlobTable[bool]:
    """Return a table that only tells whether any of the globs matches."""
    return GlobTable((glob, True) for glob in globs)
