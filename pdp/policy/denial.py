"""The denials of policies, in words: what, by which key and why, and what to do."""

from collections.abc import Sequence
from typing import Final

from pdp.actions import ACTIONS
from pdp.policy.attributes import Attributes
from pdp.policy.evaluation import Evaluation
from pdp.policy.statement import CompiledStatement
from pdp.quota.hold import BudgetGuard
from pdp.wording import listed, shown

_LONGEST: Final = 200
"""Characters of a statement's conditions: a message of five of them has to fit into a header."""


def unknown_action(action: str) -> Evaluation:
    """An action that nobody knows is nobody's to use."""
    return Evaluation(
        allowed=False,
        reason="action_not_allowed",
        message=f"action {shown(action)} is unknown: use one of {', '.join(ACTIONS)}",
    )


def ip_not_allowed(owner: str, client_ip: str) -> Evaluation:
    """`owner` is the key (name and id) whose allowlist does not have the client."""
    if client_ip:
        message = (
            f"client address {shown(client_ip)} is not in the IP allowlist of {owner}: "
            "call from an address that is, or ask for this one to be added"
        )
    else:
        message = (
            f"the client's address is not known, and {owner} has an IP allowlist: "
            "have the proxy pass the address on"
        )
    return Evaluation(allowed=False, reason="ip_not_allowed", message=message)


def policy_denied(
    owner: str,
    statement: CompiledStatement,
    request: Attributes,
    relied_on: Sequence[BudgetGuard],
) -> Evaluation:
    """A Deny of `owner` matched."""
    return Evaluation(
        allowed=False,
        reason="policy_denied",
        message=(
            f"{_asked(request)} is denied by {_conditions(statement)} of the policy of {owner}: "
            "ask for that statement to be changed"
        ),
        statement=statement.label,
        guards=tuple(dict.fromkeys(relied_on)),
    )


def read_only(owner: str, action: str) -> Evaluation:
    """`access` is `read_only` and the action writes."""
    return Evaluation(
        allowed=False,
        reason="action_not_allowed",
        message=(
            f"action {shown(action)} is not allowed by access `read_only` of {owner}, which "
            "lists models and reads usage: ask for wider access"
        ),
    )


def not_permitted(what: str, name: str, allowed: Sequence[str], owner: str) -> Evaluation:
    """`permissions.<what>s` of `owner` has no glob for the name."""
    use = f"use one of {listed(allowed)}, or ask" if allowed else "it allows none, ask"
    return Evaluation(
        allowed=False,
        reason="action_not_allowed" if what == "action" else "model_not_allowed",
        message=(
            f"{what} {shown(name)} is not allowed by permissions.{what}s of {owner}: "
            f"{use} for it to be added"
        ),
    )


def no_allow_of_action(owner: str, action: str) -> Evaluation:
    """No Allow of the policy has the action."""
    return Evaluation(
        allowed=False,
        reason="action_not_allowed",
        message=(
            f"action {shown(action)} is not allowed by the policy of {owner}, which has no "
            "Allow for it: use another action, or ask for an Allow of this one"
        ),
    )


def no_allow_of_resource(owner: str, request: Attributes) -> Evaluation:
    """No Allow with the action has the resource, or `in`/`not_in` stopped those that have."""
    if ACTIONS[request.action].model_bearing:
        todo = "use another model, or ask for an Allow of this one"
    else:
        todo = "it has no model, so ask for an Allow whose resources have `*`"
    return Evaluation(
        allowed=False,
        reason="model_not_allowed",
        message=f"{_asked(request)} is not allowed by the policy of {owner}: {todo}",
    )


def condition_not_met(
    owner: str,
    near: Sequence[CompiledStatement],
    request: Attributes,
    relied_on: Sequence[BudgetGuard],
) -> Evaluation:
    """The Allows that are about the request (`near`) have conditions that do not hold."""
    some = ", ".join(map(_conditions, near[:5]))
    more = f" and {len(near) - 5} more" if len(near) > 5 else ""
    return Evaluation(
        allowed=False,
        reason="condition_not_met",
        message=(
            f"{_asked(request)} is allowed by the policy of {owner} on conditions that do not "
            f"hold now: meet those of {some}{more}, or ask for a change"
        ),
        guards=tuple(dict.fromkeys(relied_on)),
    )


def _asked(request: Attributes) -> str:
    action = f"action {shown(request.action)}"
    if not ACTIONS[request.action].model_bearing:
        return action
    return f"{action} with model {shown(request.model)} of provider {shown(request.provider)}"


def _place(statement: CompiledStatement) -> str:
    sid = statement.sid
    return f"statements[{statement.index}]" + (f" {shown(sid)}" if sid else "")


def _conditions(statement: CompiledStatement) -> str:
    taken = statement.conditions
    if len(taken) > _LONGEST:
        taken = f"{taken[:_LONGEST]}…"
    return f"{_place(statement)} ({taken})" if taken else _place(statement)
