"""Policy documents: `{"version": "2024-01-01", "statements": [...]}`, read strictly."""

from typing import Final, Literal

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.condition import ALWAYS, Condition, read_condition
from pdp.policy.names import ResourceType
from pdp.problems import Problems
from pdp.wording import shown

VERSION: Final = "2024-01-01"

Effect = Literal["Allow", "Deny"]


class Resource(Struct, frozen=True):
    """A resource pattern; `type` None is the lone `*`, which stands for anything."""

    type: ResourceType | None
    glob: str


class Statement(Struct, frozen=True):
    """One statement. `only` is the type that all its resources are of, if they are of one."""

    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[Resource, ...]
    condition: Condition = ALWAYS
    sid: str = ""

    @property
    def only(self) -> ResourceType | None:
        """The type that all its resources are of; None if of several, or of any."""
        return _only(self.resources)


class Policy(Struct, frozen=True):
    """The statements of a policy, in document order."""

    statements: tuple[Statement, ...]


def parse_policy(document: object, at: str, problems: Problems) -> Policy | None:
    """Return the policy, or None and what is wrong with it in `problems`."""
    before = len(problems)
    fields = Cursor(document, at, problems).fields(("version", "statements"), _NEEDED)
    statements: list[Statement | None] = []
    if fields and "version" in fields:
        fields["version"].one_of((VERSION,))
    if fields and "statements" in fields:
        statements = [_read_statement(item) for item in fields["statements"].items() or ()]
    if len(problems) > before:
        return None
    return Policy(tuple(statement for statement in statements if statement is not None))


_NEEDED: Final = ("version", "statements")
_STATEMENT_NEEDED: Final = ("effect", "actions", "resources")


def _read_statement(cursor: Cursor) -> Statement | None:
    fields = cursor.fields(("sid", *_STATEMENT_NEEDED, "condition"), _STATEMENT_NEEDED)
    if fields is None:
        return None
    sid = fields["sid"].text() if "sid" in fields else ""
    effect = _read_effect(fields["effect"]) if "effect" in fields else None
    actions = fields["actions"].patterns(may_be_empty=False) if "actions" in fields else None
    resources = _read_resources(fields["resources"]) if "resources" in fields else None
    condition = ALWAYS
    if "condition" in fields:
        # Of faulty resources nothing is known: one fault is not reported as two.
        plain_lists = resources is None or _only(resources) is not None
        condition = read_condition(fields["condition"], plain_lists=plain_lists)
    if sid is None or effect is None or actions is None or resources is None:
        return None
    return Statement(effect, actions, resources, condition, sid)


def _read_effect(cursor: Cursor) -> Effect | None:
    word = cursor.one_of(("Allow", "Deny"))
    if word == "Allow":
        return "Allow"
    return "Deny" if word == "Deny" else None


def _read_resources(cursor: Cursor) -> tuple[Resource, ...] | None:
    items = cursor.items(may_be_empty=False)
    if items is None:
        return None
    found = tuple(resource for item in items if (resource := _read_resource(item)) is not None)
    return found if len(found) == len(items) else None


def _read_resource(cursor: Cursor) -> Resource | None:
    text = cursor.pattern()
    if text is None:
        return None
    kind, _, glob = text.partition(":")
    if text == "*":
        return Resource(None, "*")
    if kind == "model" and glob:
        return Resource("model", glob)
    if kind == "provider" and glob:
        return Resource("provider", glob)
    cursor.fault(f"{shown(text)} is no resource: write `*`, `model:<name>` or `provider:<name>`")
    return None


def _only(resources: tuple[Resource, ...]) -> ResourceType | None:
    types = {resource.type for resource in resources}
    return types.pop() if len(types) == 1 else None
