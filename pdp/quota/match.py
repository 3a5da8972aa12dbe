"""Rules over model names, and the first of many that matches, found without asking each.

Model names come from clients, and every one has to be looked up: what a name that no
rule knows costs must not grow with the rules.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from msgspec import Struct

Check = Callable[[str], object]

_KEY: Final = 3
"""Characters by which heads are shelved."""
_NONE: Final = 1 << 62
_LOOKED_AT: Final = 100
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9_/@:,~ -]|\\[^A-Za-z0-9])*")


class Match(Struct, frozen=True, omit_defaults=True):
    """A rule over model names in lower case: any one of its alternatives is enough.

    `every` holds groups of rules; a group matches when all its rules do.
    """

    equals: tuple[str, ...] = ()
    starts_with: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    every: "tuple[tuple[Match, ...], ...]" = ()

    def matches(self, name: str) -> bool:
        """Tell whether a name in lower case matches."""
        return (
            name in self.equals
            or (bool(self.starts_with) and name.startswith(self.starts_with))
            or (bool(self.ends_with) and name.endswith(self.ends_with))
            or any(part in name for part in self.contains)
            or any(re.search(pattern, name) for pattern in self.regex)
            or any(_all(group, name) for group in self.every)
        )


def joined(rules: Iterable[Match]) -> Match:
    """Return the rule that matches where any of the rules does."""
    found = tuple(rules)
    return Match(
        **{
            field: tuple(value for rule in found for value in getattr(rule, field))
            for field in Match.__struct_fields__
        }
    )


class MatchIndex:
    """Immutable: many rules in the order in which they count; `first` tells which one does.

    Texts are looked up by themselves, by their heads or by their tails; what has to be
    run is run only where the name has its literal head.
    """

    __slots__ = ("_checks", "_contains", "_exact", "_heads", "_tails")

    def __init__(self, rules: Iterable[Match]) -> None:
        self._exact: dict[str, int] = {}
        heads: dict[str, dict[int, dict[str, int]]] = {}
        tails: dict[int, dict[str, int]] = {}
        contains: list[tuple[str, int]] = []
        checks: dict[str, list[tuple[int, str, Check]]] = {}
        for place, rule in enumerate(rules):
            for text in rule.equals:
                self._exact.setdefault(text, place)
            for text in rule.starts_with:
                heads.setdefault(_key(text), {}).setdefault(len(text), {}).setdefault(text, place)
            for text in rule.ends_with:
                tails.setdefault(len(text), {}).setdefault(text, place)
            for text in rule.contains:
                # One that is within this one counts first. Of many that would take seconds to see.
                if not any(other in text for other, _ in contains[:_LOOKED_AT]):
                    contains.append((text, place))
            for head, check in _checks_of(rule):
                checks.setdefault(_key(head), []).append((place, head, check))
        self._heads = {key: tuple(shelf.items()) for key, shelf in heads.items()}
        self._tails = tuple((-length, shelf) for length, shelf in tails.items() if length)
        if 0 in tails:  # Every name ends with nothing.
            self._heads[""] = (*self._heads.get("", ()), (0, tails[0]))
        self._contains = tuple(contains)
        self._checks = {key: tuple(found) for key, found in checks.items()}

    def spells(self, name: str) -> bool:
        """Tell whether a rule is for exactly this name."""
        return name in self._exact

    def first(self, name: str) -> int | None:
        """Return the place of the first rule that matches a name in lower case."""
        best = self._exact.get(name, _NONE)
        for key in ("", name[:_KEY]):
            for length, shelf in self._heads.get(key, ()):
                best = min(best, shelf.get(name[:length], _NONE))
        for length, shelf in self._tails:
            best = min(best, shelf.get(name[length:], _NONE))
        for text, place in self._contains:
            if place >= best:
                break
            if text in name:
                best = place
        best = self._checked(name, best)
        return None if best == _NONE else best

    def _checked(self, name: str, best: int) -> int:
        for key in ("", name[:_KEY]):
            for place, head, check in self._checks.get(key, ()):
                if place >= best:
                    break
                if name.startswith(head) and check(name):
                    best = place
        return best


def _key(head: str) -> str:
    return head[:_KEY] if len(head) >= _KEY else ""


def _all(rules: Iterable[Match], name: str) -> bool:
    return all(rule.matches(name) for rule in rules)


def _checks_of(rule: Match) -> Iterable[tuple[str, Check]]:
    """Yield (the head that a name must have, what to run) of what is more than a text."""
    for pattern in rule.regex:
        yield _head_of(pattern), re.compile(pattern).search
    for group in rule.every:
        heads = (each.starts_with[0] for each in group if _is_head(each))
        yield max(heads, key=len, default=""), partial(_all, group)


def _is_head(rule: Match) -> bool:
    return len(rule.starts_with) == 1 and rule == Match(starts_with=rule.starts_with)


def _head_of(pattern: str) -> str:
    """Return a text that all names begin with that the regex finds; "" where that is not plain."""
    if not pattern.startswith("^") or "|" in pattern:
        return ""
    found = _LITERAL.match(pattern, 1)
    assert found is not None  # It matches nothing, at the least.
    head, rest = re.sub(r"\\(.)", r"\1", found[0], flags=re.DOTALL), pattern[found.end() :]
    return head[:-1] if rest[:1] in ("*", "+", "?", "{") else head
