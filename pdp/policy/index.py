"""Statements filed by action and resource, so that those that cannot match cost nothing.

Actions are known beforehand: every action has its shelf, and actions that the
same statements match share one. A shelf files its statements by resource.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from pdp.actions import ACTIONS
from pdp.policy.document import Statement
from pdp.policy.glob import GlobTable, matcher_of
from pdp.policy.names import ResourceType
from pdp.policy.statement import CompiledStatement


@lru_cache(maxsize=1024)
def expand_action(glob: str) -> frozenset[str]:
    """Return the known actions that a glob matches."""
    matcher = matcher_of(glob)
    return frozenset(action for action in ACTIONS if matcher(action))


_MOST_REMEMBERED: Final = 256


Filed = tuple[Statement, CompiledStatement]
"""A statement as it is written, by which it is filed, and as it is kept."""


class Shelf:
    """The statements of one effect that match an action.

    `everywhere` are those about `*`, the only ones for an action without model. What
    was found is remembered; how much is bounded, since names come from clients.
    """

    __slots__ = ("_everywhere", "_models", "_providers", "_remembered")

    def __init__(self, statements: Sequence[Filed], *, fold: bool) -> None:
        self._everywhere: Sequence[CompiledStatement] = tuple(
            statement
            for source, statement in statements
            if any(resource.type is None for resource in source.resources)
        )
        self._models = _file(statements, "model", fold=fold)
        self._providers = _file(statements, "provider", fold=fold)
        self._remembered: dict[tuple[str, str] | None, Sequence[CompiledStatement]] = {}

    def find(self, names: tuple[str, str] | None) -> Sequence[CompiledStatement]:
        """Return the statements about a model or its provider, in document order.

        Those that `in` or `not_in` exclude are left out. `names` are (model,
        provider), None for an action without.
        """
        found = self._remembered.get(names)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[names] = self._search(names)
        return found

    def _search(self, names: tuple[str, str] | None) -> Sequence[CompiledStatement]:
        found = self._everywhere
        if names is not None:
            if self._models is not None:
                found = _merge(found, self._models.find(names[0]))
            if self._providers is not None:
                found = _merge(found, self._providers.find(names[1]))
        return tuple(statement for statement in found if statement.admits(*(names or ("", ""))))


def _file(
    statements: Iterable[Filed], type_: ResourceType, *, fold: bool
) -> GlobTable[CompiledStatement] | None:
    filed = [
        (resource.glob.casefold() if fold else resource.glob, statement)
        for source, statement in statements
        for resource in source.resources
        if resource.type == type_
    ]
    return GlobTable(filed) if filed else None


def _merge(
    some: Sequence[CompiledStatement], more: Sequence[CompiledStatement]
) -> Sequence[CompiledStatement]:
    """Return both in document order, each statement once: several globs of one can match."""
    if not more:
        return some
    if not some and len(more) == 1:
        return more
    unique = {statement.index: statement for statement in (*some, *more)}
    return [unique[index] for index in sorted(unique)]


class StatementIndex:
    """The statements of one effect of one key's policy; immutable."""

    __slots__ = ("_shelves",)

    def __init__(self, statements: Sequence[Filed], *, fold: bool) -> None:
        shared: dict[tuple[int, ...], Shelf] = {}
        self._shelves: dict[str, Shelf] = {}
        reach = [_actions_of(source, fold=fold) for source, _ in statements]
        for action in ACTIONS:
            places = tuple(place for place, actions in enumerate(reach) if action in actions)
            if not places:
                continue
            if places not in shared:
                shared[places] = Shelf([statements[place] for place in places], fold=fold)
            self._shelves[action] = shared[places]

    def shelf(self, action: str) -> Shelf | None:
        """Return the statements that match a known action; None if there are none."""
        return self._shelves.get(action)


def _actions_of(source: Statement, *, fold: bool) -> frozenset[str]:
    globs = source.actions
    return frozenset().union(*(expand_action(glob.casefold() if fold else glob) for glob in globs))
