"""What a key asks for that its granters cannot give: allowed to be written, of no effect. Pure.

Names alone are looked at, not globs and not conditions: what is told here is certain.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from pdp.policy.glob import matcher_of
from pdp.policy.permissions import RIGHTS
from pdp.store.keys import KeyRow
from pdp.wording import named, shown

_WILD: Final = frozenset("*?")
_READ_ONLY: Final = ("models:list", "usage:read")


def warnings_of(row: KeyRow, granters: Sequence[KeyRow]) -> list[str]:
    """Return a sentence for each model, action and right that a granter has not."""
    found = []
    for granter in granters:
        who = named(granter.name, granter.id)
        for what, name in _lacking(row, granter):
            found.append(f"{what} {shown(name)}: {who}, which grants this key, has it not")
    return found


def is_for_who_changes(
    before: KeyRow, after: KeyRow, below: Sequence[KeyRow], above: Sequence[KeyRow]
) -> bool:
    """Tell whether a change asks for what granters `below` who makes it lack and `above` have.

    `above` begins with who makes the change.
    """
    had = {each for granter in below for each in _lacking(before, granter)}
    asked = {each for granter in below for each in _lacking(after, granter)} - had
    return bool(asked.difference(*(_lacking(after, granter) for granter in above)))


def _lacking(row: KeyRow, granter: KeyRow) -> list[tuple[str, str]]:
    return [(what, name) for what, name in _asked(row) if not _can_give(granter, what, name)]


def _asked(row: KeyRow) -> Iterable[tuple[str, str]]:
    """Yield (kind, name) of what the key's own documents allow by name."""
    permissions = row.document.permissions or {}
    allows = _allows(row)
    resources = [resource for each in allows for resource in each["resources"]]
    models = [
        *(permissions.get("models") or ()),
        *(name for kind, _, name in (each.partition(":") for each in resources) if kind == "model"),
    ]
    actions = [
        *(permissions.get("actions") or ()),
        *(action for each in allows for action in each["actions"]),
    ]
    for what, names in (("model", models), ("action", actions)):
        yield from ((what, name) for name in dict.fromkeys(names) if not _WILD.intersection(name))
    yield from (("right", right) for right in RIGHTS if permissions.get(right) is True)


def _can_give(granter: KeyRow, what: str, name: str) -> bool:
    permissions = granter.document.permissions or {}
    if what == "right":
        writes = name != "view_all_usage"
        return permissions.get(name) is True and not (
            writes and granter.document.access == "read_only"
        )
    if what == "action" and granter.document.access == "read_only" and name not in _READ_ONLY:
        return False
    listed = permissions.get("models" if what == "model" else "actions")
    if listed is not None and not _any_matches(listed, name):
        return False
    return granter.document.policy is None or any(
        _statement_has(statement, what, name) for statement in _allows(granter)
    )


def _statement_has(statement: dict[str, Any], what: str, name: str) -> bool:
    if what == "action":
        return _any_matches(statement["actions"], name)
    # A provider may have the model; a name alone does not tell.
    return any(
        resource.startswith("provider:") or _any_matches([resource], f"model:{name}")
        for resource in statement["resources"]
    )


def _allows(row: KeyRow) -> list[dict[str, Any]]:
    statements = (row.document.policy or {}).get("statements") or ()
    return [statement for statement in statements if statement.get("effect") == "Allow"]


def _any_matches(globs: Iterable[str], name: str) -> bool:
    return any(matcher_of(glob)(name) for glob in globs)
