"""A simulation says what a Check with `dry_run` says, whatever keys, request and spend."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pdp.control.policies import simulate, validate
from pdp.control.simulation import Rules
from pdp.counters.memory import MemoryCounters
from pdp.errors import InvalidDocument
from pdp.model import Decision, KeyRecord, Request
from pdp.options import Options
from pdp.policy.attributes import Attributes
from pdp.quota.hold import Settlement, Window
from pdp.wording import instant
from tests.examples import tries
from tests.property.policy.documents import Tree, conditional_trees, requests, trees
from tests.wire.harness import Desk, FixedPrices

OPTIONS = Options()
LIMITS: dict[str, st.SearchStrategy[Any]] = {
    "budget_limits": st.sampled_from([None, {"daily": 1}, {"monthly": 0.5, "total": 2}]),
    "token_limits": st.sampled_from([None, {"per_request_max": 5000}, {"daily": 4500}]),
    "rate_limits": st.sampled_from([None, {"per_minute": 1}, {"per_second": 0}]),
    "max_requests": st.sampled_from([None, None, 0]),
    "status": st.sampled_from(["active"] * 5 + ["revoked", "suspended"]),
}


@st.composite
def families(draw: st.DrawFn) -> list[KeyRecord]:
    """Keys of a tree, root first, with limits and states; each stands below the one before."""
    tree: Tree = draw(trees() | conditional_trees())
    found: list[KeyRecord] = []
    for record in reversed(tree.parents):
        parent = found[-1].id if found else ""
        known = {each.id for each in found}
        granted_by = record.granted_by if record.granted_by in known else parent
        limits = {name: draw(values) for name, values in LIMITS.items()}
        if record.access == "custom" and record.policy is record.permissions is None:
            limits["access"] = None  # It needs one of them.
        found.append(
            msgspec.structs.replace(record, parent_key_id=parent, granted_by=granted_by, **limits)
        )
    return found


def body_of(record: KeyRecord) -> dict[str, Any]:
    """Return the key as `keys` of a simulation has it."""
    fields = msgspec.to_builtins(record)
    return {name: each for name, each in fields.items() if name != "version"}


def checked(records: list[KeyRecord], asked: Attributes, spent: dict[str, int]) -> Decision:
    """Ask an engine with real counters, in which keys have spent something today."""
    counters = MemoryCounters()
    desk = Desk(*records, options=OPTIONS, counters=counters)
    desk.clock.now = asked.now
    for number, (key_id, amount) in enumerate(spent.items()):
        key = desk.keys.by_id(key_id)
        assert key is not None
        (window,) = [each for each in key.windows.at(asked.now) if each.key_id == key_id]
        used = Settlement("", key_id, str(number), amount, 0, (Window(*_parts(window)),), asked.now)
        assert counters.settle(used)
    decision = desk.engine.check(
        Request(
            request_id="",
            api_key=records[-1].id,
            action=asked.action,
            model=asked.model,
            provider=asked.provider,
            client_ip=asked.client_ip,
            max_output_tokens=asked.max_tokens,
            metadata=dict(asked.metadata),
            dry_run=True,
        )
    )
    assert isinstance(decision, Decision)
    assert desk.sink.records == []
    return decision


def _parts(window: Window) -> tuple[str, int, int]:
    return window.key_id, window.day, window.month


@tries(60)
@given(families(), requests(), st.data())
def test_a_simulation_agrees_with_the_engine(
    records: list[KeyRecord], asked: Attributes, data: st.DataObject
) -> None:
    amounts = st.sampled_from([1, 499_999_999, 1_000_000_000, 2_500_000_000])
    spent = data.draw(st.dictionaries(st.sampled_from([each.id for each in records]), amounts))
    expected = checked(records, asked, spent)
    answer = simulate(
        {
            "keys": [body_of(record) for record in records],
            "request": {
                "action": asked.action,
                "model": asked.model,
                "provider": asked.provider,
                "ip_address": asked.client_ip,
                "max_tokens": asked.max_tokens,
                "metadata": dict(asked.metadata),
                "at": instant(asked.now),
                "spend": {
                    key_id: dict.fromkeys(("daily", "monthly", "total"), amount / 1e9)
                    for key_id, amount in spent.items()
                },
            },
        },
        0,
        Rules(FixedPrices(), OPTIONS),
    )
    assert (answer["decision"] == "allow") is expected.allowed, answer
    for name in ("reason", "message", "http_status", "key_id", "key_name"):
        assert answer[name] == getattr(expected, name)
    assert (answer["matched_statement"] or "") == expected.matched_statement
    told = [(each["name"], each["key_id"], each["spent"]) for each in answer["limits"]]
    # What was spent came in as reports, which count as requests, too.
    counted = [each for each in expected.limits if each.unit != "requests"]
    real = [(each.name, each.key_id, each.spent) for each in counted]
    assert [each for each in told if each[0] in {name for name, _, _ in real}] == real


@tries(30)
@given(families())
def test_what_decides_is_valid(records: list[KeyRecord]) -> None:
    for record in records:
        body = body_of(record)
        for name in ("id", "granted_by", "status"):
            body.pop(name, None)
        assert validate(body, 0)["errors"] == []


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["policy", "permissions", "keys", "key", "request", "id", "spend", "daily", "at",
             "model", "metadata", "statements", "version", "timezone", "file", "api_key_id"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip


@tries(60)
@given(JSON)
def test_anything_gets_an_answer_with_places(body: Any) -> None:
    found = validate(body, 0)
    assert found["valid"] is not bool(found["errors"])
    assert all(each["location"] for each in found["errors"])
    try:
        answer = simulate(body, 0, Rules(FixedPrices(), OPTIONS))
    except InvalidDocument as error:
        places = [each.location for each in error.problems]
    else:
        places = [answer["reason"]]
    assert places
    assert all(places)
