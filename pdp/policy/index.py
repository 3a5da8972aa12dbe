"""Statements filed by action and resource, so that those that cannot match cost nothing.

Actions are known beforehand: every action has its shelf, and actions that the
same statements match share one. A shelf files its statements by resource.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pdp.actions import ACTIONS
from pdp.policy.glob import GlobTable, matcher_of
from pdp.policy.names import ResourceType
from pdp.policy.statement import CompiledStatement


@lru_cache(maxsize=1024)
def expand_action(glob: str) -> frozenset[str]:
    """Return the known actions that a glob matches."""
    matcher = matcher_of(glob)
    return frozenset(action for action in ACTIONS if matcher(action))


class Shelf:
    """The statements of one effect that match an action; immutable.

    `everywhere` are those about `*`, the only ones for an action without model.
    """

    __slots__ = ("_models", "_providers", "everywhere")

    def __init__(self, statements: Sequence[CompiledStatement], *, fold: bool) -> None:
        self.everywhere: Sequence[CompiledStatement] = [
            statement
            for statement in statements
            if any(resource.type is None for resource in statement.source.resources)
        ]
        self._models = _file(statements, "model", fold=fold)
        self._providers = _file(statements, "provider", fold=fold)

    def find(self, model: str, provider: str) -> Sequence[CompiledStatement]:
        """Return the statements about a model or its provider, in document order."""
        found = self.everywhere
        if self._models is not None:
            found = _merge(found, self._models.find(model))
        if self._providers is not None:
            found = _merge(found, self._providers.find(provider))
        return found


def _file(
    statements: Iterable[CompiledStatement], type_: ResourceType, *, fold: bool
) -> GlobTable[CompiledStatement] | None:
    filed = [
        (resource.glob.casefold() if fold else resource.glob, statement)
        for statement in statements
        for resource in statement.source.resources
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

    def __init__(self, statements: Sequence[CompiledStatement], *, fold: bool) -> None:
        shared: dict[tuple[int, ...], Shelf] = {}
        self._shelves: dict[str, Shelf] = {}
        reach = [_actions_of(statement, fold=fold) for statement in statements]
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


def _actions_of(statement: CompiledStatement, *, fold: bool) -> frozenset[str]:
    globs = statement.source.actions
    return frozenset().union(*(expand_action(glob.casefold() if fold else glob) for glob in globs))
