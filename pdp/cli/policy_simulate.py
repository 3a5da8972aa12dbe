"""`pdp policy simulate`: what a policy or a key that is only a file would decide."""

import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pdp.cli import check_options as of
from pdp.cli.common import Json, say_json
from pdp.cli.decision import say_decision
from pdp.cli.policy import app, in_file, one_document, rules_here
from pdp.errors import StartRefused

__all__ = ["app"]

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A policy, the body of a key, or one of POST /v1/policies/simulate, as JSON or "
        "YAML; - is stdin.",
    ),
]
At = Annotated[str | None, typer.Option(help="When, in RFC 3339; default: now.")]


@app.command()
def simulate(
    file: File,
    action: of.Action = "chat:completions",
    model: of.Model = "",
    provider: of.Provider = "",
    ip_address: of.IpAddress = "",
    prompt_tokens: of.PromptTokens = 0,
    max_tokens: of.MaxTokens = None,
    at: At = None,
    json: Json = False,
) -> None:
    """Decide one request by a file, without a server: docs/policy-tests.md.

    What the file says under `request` (`spend` and `metadata`, too) goes before the options.
    Exit status 0: allowed, 1: denied, or the file is wrong.
    """
    from pdp.control.policies import simulate as decide
    from pdp.control.sample import is_policy

    found: Any = in_file(file, lambda: one_document(file))
    body: Any = {"policy": found} if is_policy(found) else found
    if isinstance(body, Mapping) and isinstance(body.get("request", {}), Mapping):
        asked = {"action": action, "model": model, "provider": provider, "at": at}
        sizes = {"prompt_tokens": prompt_tokens, "max_tokens": max_tokens}
        told = {**asked, "ip_address": ip_address, **sizes, **body.get("request", {})}
        body = {**body, "request": told}
    if isinstance(body, Mapping) and body.get("api_key_id") is not None:
        raise StartRefused(
            f"{file}:api_key_id: no database is read here: use `pdp check` for a key"
        )
    answer = in_file(file, lambda: decide(body, time.time_ns(), rules_here()))
    say_json(answer) if json else say_decision(answer)
    if answer["decision"] != "allow":
        raise typer.Exit(1)
