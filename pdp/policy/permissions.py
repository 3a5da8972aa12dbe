"""The `permissions` of a key: lists that bound it, rights of administration, shorthand limits."""

from typing import Final

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.problems import Problems

SHORTHANDS: Final = ("daily_budget", "monthly_budget", "rate_limit_per_minute", "max_requests")
"""Limits beside the long forms; pdp/quota reads their values."""

_GLOBS: Final = ("models", "providers", "actions")
RIGHTS: Final = ("manage_keys", "view_all_usage", "manage_billing")


class Permissions(Struct, frozen=True):
    """Globs of models, providers and actions: None is no guard, empty allows nothing."""

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None
    manage_keys: bool = False
    view_all_usage: bool = False
    manage_billing: bool = False


def parse_permissions(document: object, at: str, problems: Problems) -> Permissions | None:
    """Return the permissions, or None and what is wrong with them in `problems`."""
    before = len(problems)
    fields = Cursor(document, at, problems).fields((*_GLOBS, *RIGHTS, *SHORTHANDS)) or {}
    globs: dict[str, tuple[str, ...] | None] = {
        name: fields[name].patterns()
        for name in _GLOBS
        if name in fields and fields[name].value is not None
    }
    rights = {name: fields[name].flag() is True for name in RIGHTS if name in fields}
    if len(problems) > before:
        return None
    return Permissions(
        globs.get("models"),
        globs.get("providers"),
        globs.get("actions"),
        rights.get("manage_keys", False),
        rights.get("view_all_usage", False),
        rights.get("manage_billing", False),
    )
