"""A second reading of the rules: straight from the raw documents, nothing compiled or indexed.

Slow and plain on purpose. It shares with pdp/policy only the table of actions.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from pdp.actions import ACTIONS
from pdp.model import KeyRecord
from pdp.policy.chain import Attributes

Spend = dict[tuple[str, str], int]
Outcome = tuple[bool, str, str]
Document = dict[str, Any]

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PERIODS = {"daily": "day", "monthly": "month", "total": "total"}


def evaluate(
    parents: Sequence[KeyRecord],
    granters: Sequence[KeyRecord],
    request: Attributes,
    spend: Spend,
) -> Outcome:
    """Return (allowed, reason, statement)."""
    if request.action not in ACTIONS:
        return False, "action_not_allowed", ""
    for key in parents:
        if not address_allowed(key.ip_allowlist, request.client_ip):
            return False, "ip_not_allowed", ""
    above = [key.id for key in parents]
    for key in [*parents, *(key for key in granters if key.id not in above)]:
        for index, statement in statements_of(key, "Deny"):
            if (
                action_matches(statement, request)
                and resource_matches(statement, request)
                and names_hold(statement, request)
                and condition_holds(statement, request, key.id, spend)
            ):
                return False, "policy_denied", f"{key.id}/statements[{index}]"
    granting = [key.id for key in granters]
    subtree = [
        key for key in parents if key.permissions_apply_to == "subtree" and key.id not in granting
    ]
    named = ""
    for key in [*granters, *subtree]:
        reason, statement_id = guard(key, request, spend)
        if reason != "ok":
            return False, reason, ""
        named = named or statement_id
    return True, "ok", named


def guard(key: KeyRecord, request: Attributes, spend: Spend) -> tuple[str, str]:
    """Return (reason, the Allow that matched) of one key's guards."""
    permissions = key.permissions or {}
    bearing = ACTIONS[request.action].model_bearing
    allows = statements_of(key, "Allow")
    with_action = [pair for pair in allows if action_matches(pair[1], request)]
    with_resource = [
        pair
        for pair in with_action
        if resource_matches(pair[1], request) and names_hold(pair[1], request)
    ]
    matching = [pair for pair in with_resource if condition_holds(pair[1], request, key.id, spend)]
    if key.access == "read_only" and request.action not in ("models:list", "usage:read"):
        return "action_not_allowed", ""
    if not listed(permissions.get("actions"), request.action):
        return "action_not_allowed", ""
    if key.policy is not None and not with_action:
        return "action_not_allowed", ""
    if bearing and not listed(permissions.get("models"), request.model):
        return "model_not_allowed", ""
    if bearing and not listed(permissions.get("providers"), request.provider):
        return "model_not_allowed", ""
    if key.policy is not None and not with_resource:
        return "model_not_allowed", ""
    if key.policy is not None and not matching:
        return "condition_not_met", ""
    return "ok", f"{key.id}/statements[{matching[0][0]}]" if matching else ""


def listed(patterns: list[str] | None, name: str) -> bool:
    return patterns is None or any(glob_matches(pattern, name) for pattern in patterns)


def statements_of(key: KeyRecord, effect: str) -> list[tuple[int, Document]]:
    statements = (key.policy or {}).get("statements", [])
    return [pair for pair in enumerate(statements) if pair[1]["effect"] == effect]


def glob_matches(pattern: str, name: str) -> bool:
    """`*` is nothing, or one character and then again `*`."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return glob_matches(pattern[1:], name) or (bool(name) and glob_matches(pattern, name[1:]))
    return bool(name) and pattern[0] in ("?", name[0]) and glob_matches(pattern[1:], name[1:])


def matches(statement: Document, pattern: str, name: str) -> bool:
    if statement["effect"] == "Deny":
        return glob_matches(pattern.lower(), name.lower())
    return glob_matches(pattern, name)


def action_matches(statement: Document, request: Attributes) -> bool:
    return any(matches(statement, pattern, request.action) for pattern in statement["actions"])


def resource_matches(statement: Document, request: Attributes) -> bool:
    for resource in statement["resources"]:
        if resource == "*":
            return True
        kind, pattern = resource.split(":", 1)
        name = request.model if kind == "model" else request.provider
        if ACTIONS[request.action].model_bearing and matches(statement, pattern, name):
            return True
    return False


def names_hold(statement: Document, request: Attributes) -> bool:
    condition = statement.get("condition", {})
    for operator in ("in", "not_in"):
        lists = condition.get(operator, {})
        if isinstance(lists, list):
            lists = {statement["resources"][0].split(":")[0]: lists}
        for kind, patterns in lists.items():
            name = request.model if kind == "model" else request.provider
            if not name or not ACTIONS[request.action].model_bearing:
                if statement["effect"] == "Allow":
                    return False
                continue
            inside = any(matches(statement, pattern, name) for pattern in patterns)
            if inside != (operator == "in"):
                return False
    return True


def condition_holds(statement: Document, request: Attributes, owner: str, spend: Spend) -> bool:
    missing = statement["effect"] == "Deny"
    return all(
        operator_holds(operator, value, request, owner, spend, missing=missing)
        for operator, value in statement.get("condition", {}).items()
        if operator not in ("in", "not_in")
    )


def operator_holds(
    operator: str,
    value: Any,
    request: Attributes,
    owner: str,
    spend: Spend,
    *,
    missing: bool,
) -> bool:
    if operator == "time_between":
        return in_span(value, request.now)
    if operator in ("ip_in", "not_ip_in"):
        if plain_address(request.client_ip) is None:
            return missing
        return in_networks(value, request.client_ip) == (operator == "ip_in")
    if operator == "before":
        return request.now < instant(value)
    if operator == "after":
        return request.now >= instant(value)
    if operator == "max_tokens_under":
        return missing if request.max_tokens is None else request.max_tokens < value
    if operator == "metadata_equals":
        return all(
            request.metadata[name] == text if name in request.metadata else missing
            for name, text in value.items()
        )
    period, _, comparison = operator.split("_")
    under = Fraction(spend.get((owner, PERIODS[period]), 0), 10**9) < Fraction(str(value))
    return under == (comparison == "under")


def in_span(span: Document, now: int) -> bool:
    """List the minutes of the span, then see whether the wall clock shows one of them."""
    local = datetime.fromtimestamp(now // 10**9, ZoneInfo(span["timezone"]))
    minute = local.hour * 60 + local.minute
    start, end = (int(text[:2]) * 60 + int(text[3:]) for text in (span["start"], span["end"]))
    if start > end:
        end += 24 * 60
    for day in span.get("days", DAYS):
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        if day == today and minute in range(start, end):
            return True
        if day == yesterday and minute + 24 * 60 in range(start, end):
            return True
    return False


def instant(text: str) -> int:
    whole = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    return int(whole.timestamp()) * 10**9


def plain_address(text: str) -> Any:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def in_networks(networks: list[str], client_ip: str) -> bool:
    address = plain_address(client_ip)
    for text in networks:
        network = ip_network(text, strict=False)
        first, last = plain_address(str(network[0])), plain_address(str(network[-1]))
        if first.version == last.version == address.version and first <= address <= last:
            return True
    return False


def address_allowed(allowlist: Document | None, client_ip: str) -> bool:
    if allowlist is None or not allowlist["enabled"]:
        return True
    if plain_address(client_ip) is None:
        return False
    return in_networks(allowlist["addresses"], client_ip)
