"""`in` and `not_in`: the request's model or provider against a list of globs."""

from typing import Literal

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.glob import GlobTable, table_of

ResourceType = Literal["model", "provider"]


class NameList(Struct, frozen=True):
    """As written. `of` None: the name of the resource type that the statement is about."""

    of: ResourceType | None
    patterns: tuple[str, ...]
    negated: bool


class NameTest(Struct, frozen=True):
    """Compiled: `table` has the patterns, folded for a Deny."""

    of: ResourceType | None
    table: GlobTable[bool]
    negated: bool

    def holds(self, model: str, provider: str) -> bool | None:
        """Compare; None: the request has no such name."""
        name = model if self.of == "model" else provider
        if not name:
            return None
        return self.table.has(name) is not self.negated


def compile_names(names: NameList, only: ResourceType | None, *, fold: bool) -> NameTest:
    """Return the test; `only` is the type that a plain list is about."""
    globs = (glob.casefold() if fold else glob for glob in names.patterns)
    return NameTest(names.of or only, table_of(globs), names.negated)


def read_in(cursor: Cursor) -> tuple[NameList, ...]:
    """Read `in`: empty if there was a fault."""
    return _read(cursor, negated=False)


def read_not_in(cursor: Cursor) -> tuple[NameList, ...]:
    """Read `not_in`: empty if there was a fault."""
    return _read(cursor, negated=True)


def _read(cursor: Cursor, *, negated: bool) -> tuple[NameList, ...]:
    if isinstance(cursor.value, list):
        return _read_list(cursor, None, negated=negated)
    if not isinstance(cursor.value, dict):
        cursor.expected("a list or an object of lists")
        return ()
    fields = cursor.fields(("model", "provider"), noun="resource type") or {}
    if not cursor.value:
        cursor.fault("must not be empty")
    of: ResourceType
    found: tuple[NameList, ...] = ()
    for of in ("model", "provider"):
        if of in fields:
            found += _read_list(fields[of], of, negated=negated)
    return found


def _read_list(cursor: Cursor, of: ResourceType | None, *, negated: bool) -> tuple[NameList, ...]:
    patterns = cursor.patterns(may_be_empty=False)
    return () if patterns is None else (NameList(of, patterns, negated),)
