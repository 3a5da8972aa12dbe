"""Use cases for authors of policies: is a document right, and what would it decide?

`validate` and `simulate` are pure; `simulate_key` reads a key with its chains and its
spend. The CLI and REST call these; pdp/control/policy_schemas.py describes the bodies.
"""

from collections.abc import Mapping
from typing import Any, Final

from pdp.control.asked import Asked, Spend, read_asked
from pdp.control.keys import Actor, Keys
from pdp.control.policy_warnings import permission_warnings, policy_warnings
from pdp.control.resolve import resolve
from pdp.control.sample import Sample, is_policy, read_record, read_sample, read_zone, sample_of
from pdp.control.simulation import Rules, accounts_of, answer_of, decide
from pdp.cursor import Cursor
from pdp.errors import NotFound, Problem
from pdp.model import KeyRecord, Resolved
from pdp.policy.document import parse_policy
from pdp.policy.permissions import parse_permissions
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.store.database import Database
from pdp.store.spend import accounts_in
from pdp.wording import printable, shown

Answer = dict[str, Any]

_ONLY_SIMULATED: Final = ("request", "api_key_id", "keys", "key", "timezone")


def validate(body: object, now: int) -> Answer:
    """Return {"valid", "errors", "warnings"}: of a policy, or of what makes a key.

    Every fault is there at once, each as {"location", "message"}; a place is a path within
    the body. What a key says of other keys (its parent) is not looked up.
    """
    problems = Problems()
    alone = is_policy(body)
    record = read_record({"policy": body} if alone else body, problems)
    warnings = [] if record is None or len(problems) else _warnings(record, now)
    return {
        "valid": not len(problems),
        "errors": [_located(each, alone=alone) for each in problems],
        "warnings": [_located(each, alone=alone) for each in warnings],
    }


def _warnings(record: KeyRecord, now: int) -> list[Problem]:
    found = []
    if record.policy is not None and (policy := parse_policy(record.policy, "policy", Problems())):
        found += policy_warnings(policy, "policy", now)
    if record.permissions is not None:
        permissions = parse_permissions(record.permissions, "permissions", Problems())
        found += permission_warnings(permissions, "permissions") if permissions else []
    if record.expires_at is not None and record.expires_at <= now:
        found.append(Problem("expires_at", "is in the past: the key is expired already"))
    return found


def _located(problem: Problem, *, alone: bool) -> dict[str, str]:
    """Return a fault for the wire; the policy of a body that is one is no field of it."""
    place = problem.location
    if alone:
        place = place.removeprefix("policy").removeprefix(".") or "body"
    return {"location": place, "message": problem.message}


def simulate(body: object, now: int, rules: Rules) -> Answer:
    """Decide a request by keys that stand in the body; nothing is looked up, nothing moves.

    The body has `request` and beside it the fields of a key, or `keys` (root first, each
    with its `id`) with `key`, the one that asks. Raises `InvalidDocument` with every fault.
    """
    problems = Problems()
    sample, key_id = _sample(body, problems)
    asked = _asked(body, problems, key_id, now)
    problems.raise_if_any()
    assert sample is not None, "without a sample there is a problem"
    assert asked is not None, "without a request there is a problem"
    return simulated(sample.resolve(key_id), asked, rules)


def simulated(resolved: Resolved, asked: Asked, rules: Rules) -> Answer:
    """Decide by what is pretended alone."""
    accounts = accounts_of(asked.spend or {}, resolved, asked.at)
    return answer_of(decide(resolved, asked, accounts, rules), asked.at)


async def simulate_key(
    database: Database, keys: Keys, actor: Actor, body: object, now: int, rules: Rules
) -> Answer:
    """Decide as `simulate`, or by a key that is there, where the body has its `api_key_id`.

    Its spend is the ledger's, which is behind by moments, unless the request pretends
    another; rates are full. Raises `NotFound` for a key that the actor may not see, and
    `InvalidDocument` with every fault.
    """
    if not isinstance(body, Mapping) or body.get("api_key_id") is None:
        return simulate(body, now, rules)
    problems = Problems()
    key_id = Cursor(body["api_key_id"], "api_key_id", problems).text() or ""
    for name in body:
        if name not in ("api_key_id", "request"):
            message = "is not for a key that is there: leave it or `api_key_id` out"
            problems.add(printable(str(name)), message)
    asked = _asked(body, problems, key_id, now)
    problems.raise_if_any()
    assert asked is not None, "without a request there is a problem"
    await keys.get(actor, key_id, now)
    _, resolved = await resolve(database, None, key_id)
    if resolved is None:
        raise NotFound(f"there is no key {shown(key_id)}")
    accounts = {each.key_id: each for each in await _spent(database, resolved, asked.at)}
    if asked.spend is not None:
        pretended: Spend = asked.spend
        accounts |= {each.key_id: each for each in accounts_of(pretended, resolved, asked.at)}
    return answer_of(decide(resolved, asked, list(accounts.values()), rules), asked.at)


def _asked(body: object, problems: Problems, key_id: str, now: int) -> Asked | None:
    if not isinstance(body, Mapping):
        problems.add("body", "not a JSON object")
        return None
    if body.get("request") is None:
        problems.add("request", "is required: say what is asked, such as its `model`")
        return None
    return read_asked(Cursor(body["request"], "request", problems), key_id, now)


async def _spent(database: Database, resolved: Resolved, at: int) -> list[Any]:
    calendar = Calendar(resolved.timezone, resolved.moved)
    ids = list(dict.fromkeys((*resolved.parents, *resolved.granters)))
    async with database.reading() as connection:
        return await accounts_in(connection, ids, calendar.day(at)[0], calendar.month(at)[0])


def _sample(body: object, problems: Problems) -> tuple[Sample | None, str]:
    """Return the keys of a body, and which of them asks."""
    fields = dict(body) if isinstance(body, Mapping) else {}
    authored = {name: each for name, each in fields.items() if name not in _ONLY_SIMULATED}
    zone = read_zone(Cursor(fields.get("timezone"), "timezone", problems))
    if fields.get("keys") is None:
        if fields.get("key") is not None:
            problems.add("key", "is only for `keys`: leave it out")
        record = read_record(authored, problems)
        return (None, "") if record is None else (sample_of(record, zone), record.id)
    for name in authored:
        message = "is not for several keys: put it into one of `keys`"
        problems.add(printable(str(name)), message)
    sample = read_sample(Cursor(fields["keys"], "keys", problems), zone, None)
    if sample is None:
        return None, ""
    return sample, chosen(Cursor(fields.get("key"), "key", problems), sample)


def chosen(cursor: Cursor, sample: Sample) -> str:
    """Return the id of the key that asks: the last where none is named."""
    if cursor.value is None:
        return sample.last
    key_id = cursor.text()
    if key_id is not None and key_id not in sample.records:
        cursor.fault(f"there is no key {shown(key_id)} among these")
    return key_id or ""
