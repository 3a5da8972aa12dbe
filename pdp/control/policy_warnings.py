"""What is valid in a policy and yet certainly not what its author means. Pure.

Each warning is sure for every request; what only may be a mistake is not told.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pdp.actions import ACTIONS
from pdp.errors import Problem
from pdp.policy.budget import Budget
from pdp.policy.condition import ALWAYS, Condition
from pdp.policy.document import Policy, Resource, Statement
from pdp.policy.index import expand_action
from pdp.policy.moment import Moment
from pdp.policy.names import NameList
from pdp.policy.permissions import Permissions

_USE: Final = ", ".join(ACTIONS)


def policy_warnings(policy: Policy, at: str, now: int) -> list[Problem]:
    """Return the warnings about a policy that stands at a place; `now` in ns."""
    found: list[Problem] = []
    denied = _denied_pairs(policy)
    for index, statement in enumerate(policy.statements):
        place = f"{at}.statements[{index}]"
        is_deny = statement.effect == "Deny"
        found += _about_actions(statement.actions, f"{place}.actions", fold=is_deny)
        found += _about_statement(statement, place, now)
        if not is_deny and (denier := _denier(statement, denied)) is not None:
            message = f"never allows anything: statements[{denier}] denies all of it"
            found.append(Problem(place, message))
    if not any(statement.effect == "Allow" for statement in policy.statements):
        message = "has no Allow, so that the policy allows nothing: add one"
        found.append(Problem(f"{at}.statements", message))
    return found


def permission_warnings(permissions: Permissions, at: str) -> list[Problem]:
    """Return the warnings about the lists of permissions."""
    found = []
    for name in ("models", "providers", "actions"):
        if getattr(permissions, name) == ():
            message = f"is empty and allows no {name[:-1]}: leave it out to allow any"
            found.append(Problem(f"{at}.{name}", message))
    found += _about_actions(permissions.actions or (), f"{at}.actions", fold=False)
    return found


def _about_actions(globs: tuple[str, ...], at: str, fold: bool) -> Iterator[Problem]:
    for index, glob in enumerate(globs):
        if not expand_action(glob.casefold() if fold else glob):
            yield Problem(f"{at}[{index}]", f"matches no action: use one of {_USE}")


def _about_statement(statement: Statement, at: str, now: int) -> Iterator[Problem]:
    actions = _actions(statement)
    if actions and not any(_is_about(statement, action) for action in actions):
        message = "never match: these actions have no model or provider, only `*` is about them"
        yield Problem(f"{at}.resources", message)
    for operator, message in _never(statement.condition).items():
        yield Problem(f"{at}.condition.{operator}", message)
    for names in statement.condition.names:
        all_of_it = names.negated and any(set(each) == {"*"} for each in names.patterns)
        if all_of_it and (statement.effect == "Allow" or not _may_lack(statement)):
            yield Problem(f"{at}.condition.not_in", _excludes_all(names))
    for test in statement.condition.tests:
        if isinstance(test, Moment) and test.before and test.at <= now:
            message = "is in the past: the statement never matches again"
            yield Problem(f"{at}.condition.before", message)


def _excludes_all(names: NameList) -> str:
    what = names.of or "name"
    return f"excludes every {what}, so that the statement never matches: leave `*` out"


def _may_lack(statement: Statement) -> bool:
    """Tell whether a Deny can meet a request without model: what is missing then denies."""
    return any(
        not ACTIONS[action].model_bearing and _is_about(statement, action)
        for action in _actions(statement)
    )


def _never(condition: Condition) -> Mapping[str, str]:
    """Return which operators can never hold together, and why."""
    found: dict[str, str] = {}
    under = {each.period: each for each in condition.budgets if each.under}
    over = {each.period: each for each in condition.budgets if not each.under}
    for period, budget in under.items():
        if budget.amount == 0:
            found[_named(budget)] = "never holds: no spend is below 0"
        elif period in over and over[period].amount >= budget.amount:
            found[_named(budget)] = f"never holds together with {_named(over[period])}"
    moments = [test for test in condition.tests if isinstance(test, Moment)]
    before = next((each for each in moments if each.before), None)
    after = next((each for each in moments if not each.before), None)
    if before and after and before.at <= after.at:
        found["before"] = "never holds together with `after`, which is not earlier"
    return found


def _named(budget: Budget) -> str:
    period = {"day": "daily", "month": "monthly", "total": "total"}[budget.period]
    return f"{period}_budget_{'under' if budget.under else 'over'}"


_Pair = tuple[str, str | None, str]
"""An action with the type and the folded glob of a resource."""


def _denied_pairs(policy: Policy) -> dict[_Pair, int]:
    """Return what Denies without condition are about, each with the index of the first."""
    found: dict[_Pair, int] = {}
    for index, statement in enumerate(policy.statements):
        if statement.effect == "Allow" or statement.condition != ALWAYS:
            continue
        for action in _actions(statement):
            for resource in statement.resources:
                found.setdefault((action, *_denied(resource, action)), index)
    return found


def _denied(resource: Resource, action: str) -> tuple[str | None, str]:
    # A model-bearing request has a model and a provider, `unknown` at least.
    if ACTIONS[action].model_bearing and set(resource.glob) == {"*"}:
        return None, "*"
    return resource.type, resource.glob.casefold()


def _denier(allow: Statement, denied: dict[_Pair, int]) -> int | None:
    """Return the last of the Denies that together cover an Allow; None: they do not.

    Each pair of an action and a resource must be covered by one of them.
    """
    used: list[int] = []
    for action in _actions(allow):
        for resource in allow.resources:
            if resource.type is not None and not ACTIONS[action].model_bearing:
                continue
            exact = denied.get((action, resource.type, resource.glob.casefold()))
            index = denied.get((action, None, "*"), exact)
            if index is None:
                return None
            used.append(index)
    return max(used, default=None)


def _actions(statement: Statement) -> frozenset[str]:
    fold = statement.effect == "Deny"
    globs = (glob.casefold() if fold else glob for glob in statement.actions)
    return frozenset[str]().union(*map(expand_action, globs))


def _is_about(statement: Statement, action: str) -> bool:
    """Tell whether some resource can match a request of an action."""
    if ACTIONS[action].model_bearing:
        return True
    return any(resource.type is None for resource in statement.resources)
