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
[examples/envoy/envoy.yaml](../examples/envoy/envoy.yaml), `tests/e2e/nginx/test_attempts.py` \
through a real NGINX with [examples/nginx/nginx.conf](../examples/nginx/nginx.conf); they check \
that

- what is refused gets this answer, arrives nowhere, and moves no counter;
- what passes arrives once, in one spelling, with the provider's credentials and none of the \
client's; that it was decided, and is in the audit log, with the key that sent it and the \
one model that any reading of the body can find.

Envoy makes one spelling of a path before anybody decides; NGINX passes it as it came, and every \
other spelling than the table's is refused. NGINX answers some malformed requests in HTTP/2 where \
Envoy resets the stream.

"as usual" is a completion like any other. An attempt without a word of its own is refused \
for its group's reason.
"""

_LEFT = """
## What the proxies leave to the provider

- Envoy: a bare carriage return inside a header's value goes upstream as it came. A server that \
takes it for the end of a line does not follow the standard; do not put one behind this \
gateway.
- Envoy: a request that it refuses to rewrite (a stream without usage, in JSON that it cannot \
read) has been allowed before: it counts as a request, and costs nothing else.
- A request that never ends holds its connection, in Envoy for up to `request_timeout` (60 s). \
Bound connections per client in front of Envoy, or with its `connection_limit` filter; NGINX has \
`client_body_timeout` (60 s between two reads) and `limit_conn`.
"""


def page() -> str:
    """Return the page."""
    groups = load_groups()
    count = sum(len(group.attempts) for group in groups)
    return _HEAD.format(count=count) + "".join(map(_section, groups)) + _LEFT


def _section(group: Group) -> str:
    why = group.why[0].upper() + group.why[1:]
    rows = [_row(attempt) for attempt in group.attempts]
    head = ["| attempt | Envoy | NGINX | why |", "| --- | --- | --- | --- |"]
    return f"\n## {group.group}\n\n{why}.\n\n" + "\n".join([*head, *rows]) + "\n"


def _row(attempt: Attempt) -> str:
    envoy, nginx = (", ".join(_answers(one)) for one in (attempt, attempt.through_nginx()))
    whys = [attempt.why, f"NGINX: {attempt.nginx.why}" if attempt.nginx.why else ""]
    return f"| {attempt.name} | {envoy} | {nginx} | {'. '.join(filter(None, whys))} |"


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
