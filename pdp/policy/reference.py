"""The reference of policies (docs/policy-reference.md), made from the tables that decide."""

import json

from pdp.actions import ACTIONS
from pdp.policy.document import VERSION
from pdp.policy.operators import OPERATORS, Operator

_HEAD = """\
<!-- made by `pdp policy reference > docs/policy-reference.md` from the tables in code -->

# Policy reference

Every operator of a statement's `condition`, and every action. [policy.md](policy.md) has the \
rules that tie them together; [policy-tests.md](policy-tests.md) how to check and test what you \
write.

All operators of one condition must hold. **If the request lacks what an operator looks at, the \
operator counts as false in an Allow and as true in a Deny**: what is not known never allows and \
always denies.
"""


def reference_page() -> str:
    """Return the page, as Markdown."""
    parts = [_HEAD, "## Operators\n", _table()]
    parts += [_section(operator) for operator in OPERATORS.values()]
    parts += ["## Actions\n", _actions()]
    return "\n".join(parts)


def _table() -> str:
    rows = (f"| `{each.name}` | {each.takes} | {each.holds} |" for each in OPERATORS.values())
    return _lines("| operator | takes | holds when |", "| --- | --- | --- |", *rows)


def _section(operator: Operator) -> str:
    lacking = (
        f"if {operator.lacks}: an Allow does not match, a Deny does"
        if operator.lacks
        else "it always is there"
    )
    return _lines(
        f"### `{operator.name}`",
        "",
        f"- Takes: {operator.takes}.",
        f"- Compares: {operator.compares}.",
        f"- Holds when: {operator.holds}.",
        f"- What is missing: {lacking}.",
        "",
        "```json",
        json.dumps({operator.name: operator.example}),
        "```",
    )


def example_of(operator: Operator) -> dict[str, object]:
    """Return a whole policy whose one statement has the operator's example."""
    statement = {
        "effect": "Allow",
        "actions": ["chat:*"],
        "resources": ["*"],
        "condition": {operator.name: operator.example},
    }
    return {"version": VERSION, "statements": [statement]}


def _actions() -> str:
    rows = (
        f"| `{each.name}` | `{each.audit_name}` | {'yes' if each.model_bearing else 'no'} |"
        for each in ACTIONS.values()
    )
    return _lines(
        "Policies know an action by its name, the audit log by its other one.",
        "",
        "| action | in the audit log | bears a model |",
        "| --- | --- | --- |",
        *rows,
    )


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
