"""Makes docs/bypass-attempts.md of the table: `python -m tests.e2e.envoy.page`."""

from pathlib import Path
from typing import Final

from tests.e2e.envoy.attempt import Attempt, Group, load_groups

PAGE: Final = Path(__file__).parents[3] / "docs" / "bypass-attempts.md"

_HEAD = """\
# Attempts to get around the gateway

Made by `python -m tests.e2e.envoy.page` of \
[attempts.yaml](../tests/e2e/envoy/attempts.yaml), which has what is sent to the byte. \
`tests/e2e/envoy/test_attempts.py` plays all {count} through a real Envoy with \
[examples/envoy/envoy.yaml](../examples/envoy/envoy.yaml), and checks that

- what is refused gets this answer, arrives nowhere, and moves no counter;
- what passes arrives once, in one spelling, with the provider's credentials and none of the \
client's; that it was decided, and is in the audit log, with the key that sent it and the \
one model that any reading of the body can find.

"as usual" is a completion like any other. An attempt without a word of its own is refused \
for its group's reason.
"""

_LEFT = """
## What Envoy leaves to the provider

- A bare carriage return inside a header's value goes upstream as it came. A server that \
takes it for the end of a line does not follow the standard; do not put one behind this \
gateway.
- A request that Envoy refuses to rewrite (a stream without usage, in JSON that Envoy cannot \
read) has been allowed before: it counts as a request, and costs nothing else.
- A request that never ends holds its connection for up to `request_timeout` (60 s). Bound \
connections per client in front of Envoy, or with its `connection_limit` filter.
"""


def page() -> str:
    """Return the page."""
    groups = load_groups()
    count = sum(len(group.attempts) for group in groups)
    return _HEAD.format(count=count) + "".join(map(_section, groups)) + _LEFT


def _section(group: Group) -> str:
    why = group.why[0].upper() + group.why[1:]
    rows = [_row(attempt) for attempt in group.attempts]
    table = "\n".join(["| attempt | answer | why |", "| --- | --- | --- |", *rows])
    return f"\n## {group.group}\n\n{why}.\n\n{table}\n"


def _row(attempt: Attempt) -> str:
    return f"| {attempt.name} | {', '.join(_answers(attempt))} | {attempt.why} |"


def _answers(attempt: Attempt) -> list[str]:
    return [_answer(attempt, answer) for answer in attempt.answers]


def _answer(attempt: Attempt, answer: str) -> str:
    status, _, code = answer.partition(" ")
    if answer == "closed":
        return "none until the client hangs up"
    if answer == "reset":
        return "stream reset"
    if status == "200":
        return "as usual" if attempt.seen[0].to == "provider" else "of the admin API"
    return f"{status} `{code}`" if code.isidentifier() and code != "None" else status


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
