"""Strategies: policies, keys, chains and requests from a small vocabulary, so that they meet."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Struct

from pdp.actions import ACTIONS
from pdp.model import KeyRecord
from pdp.policy.chain import Attributes, Chain, build_chain
from pdp.policy.node import compile_node
from pdp.problems import Problems
from tests.property.policy.reference import DAYS

NAMES = {
    "model": ["gpt-4o", "GPT-4o", "gpt-4o-mini", "o3", "a.b+c", "a.bbc"],
    "provider": ["openai", "OpenAI", "azure", "unknown"],
}
GLOBS = {
    "model": [
        "*",
        "*",
        "gpt-*",
        "gpt-4o",
        "gpt-*",
        "*-mini",
        "g*o",
        "*4*",
        "o?",
        "a.b+c",
        "O3",
        "??3*",
    ],
    "provider": ["*", "*", "openai", "open*", "AZURE", "*e", "a?ure"],
}
ACTION_GLOBS = [
    "*",
    "*",
    "chat:*",
    "chat:*",
    "*:stream",
    "chat:completions",
    "CHAT:*",
    "models:list",
    "*:*e*",
]
ADDRESSES = ["10.0.0.1", "10.9.9.9", "192.0.2.7", "::ffff:10.0.0.1", "2001:db8::1", "", "nonsense"]
NETWORKS = ["10.0.0.0/8", "10.0.0.1", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "2001:db8::/32"]
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Apia", "America/Havana"]
TIMES = ["00:00", "02:30", "09:00", "17:00", "22:15", "23:59"]
INSTANTS = ["2024-03-10T07:00:00Z", "2024-06-03T14:00:00+02:00", "2024-11-03T01:30:00-04:00"]
USD = [0, 0.000000001, 1, 2.5, 1000.0]
NANO = [0, 1, 999_999_999, 1_000_000_000, 2_500_000_000, 1_000_000_000_000]
METADATA: dict[str, SearchStrategy[str]] = {"app": st.sampled_from("xy"), "env": st.just("prod")}
YEAR_2024 = (1_704_067_200, 1_735_689_600)
OWNERS = ["key_0", "key_1", "key_2", "key_3"]
BUDGETS = [
    f"{period}_budget_{side}"
    for period in ("daily", "monthly", "total")
    for side in ("under", "over")
]


def some(values: list[str], least: int = 1) -> SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=3)


def seldom(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.integers(0, 2).flatmap(lambda roll: st.none() if roll else values)


def spans() -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "start": st.sampled_from(TIMES),
            "end": st.sampled_from(TIMES),
            "timezone": st.sampled_from(ZONES),
        },
        optional={"days": some(DAYS)},
    ).filter(lambda span: span["start"] != span["end"])


def name_objects() -> SearchStrategy[dict[str, list[str]]]:
    lists = {kind: some(globs) for kind, globs in GLOBS.items()}
    return st.fixed_dictionaries({}, optional=lists).filter(bool)


OPERATORS: dict[str, SearchStrategy[Any]] = {
    "time_between": spans(),
    "ip_in": some(NETWORKS),
    "not_ip_in": some(NETWORKS),
    "before": st.sampled_from(INSTANTS),
    "after": st.sampled_from(INSTANTS),
    "max_tokens_under": st.sampled_from([1, 100, 1000]),
    "metadata_equals": st.fixed_dictionaries({}, optional=METADATA).filter(bool),
    **{name: st.sampled_from(USD) for name in BUDGETS},
}


@st.composite
def statements(
    draw: st.DrawFn, effects: tuple[str, ...] = ("Allow", "Allow", "Allow", "Deny")
) -> Any:
    kind = draw(st.sampled_from(["model", "provider", "any"]))
    if kind == "any":
        typed = [f"{kind}:{glob}" for kind, globs in GLOBS.items() for glob in globs]
        resources = draw(some(["*", *typed]))
    else:
        resources = [f"{kind}:{glob}" for glob in draw(some(GLOBS[kind]))]
    statement: dict[str, Any] = {
        "effect": draw(st.sampled_from(effects)),
        "actions": draw(some(ACTION_GLOBS)),
        "resources": resources,
    }
    lists: SearchStrategy[Any] = (
        name_objects() if kind == "any" else name_objects() | some(GLOBS[kind])
    )
    names = draw(st.sampled_from([[], [], ["in"], ["not_in"], ["in", "not_in"]]))
    operators = st.sampled_from(BUDGETS) | st.sampled_from(sorted(OPERATORS))
    others = draw(st.lists(operators, max_size=2, unique=True))
    condition = {name: draw(lists) for name in names}
    condition |= {name: draw(OPERATORS[name]) for name in others}
    if draw(st.booleans()) or condition:
        statement["condition"] = condition
    return statement


def policies() -> SearchStrategy[dict[str, Any]]:
    few, many = st.lists(statements(), max_size=2), st.lists(statements(), min_size=3, max_size=6)
    return (few | many | many).map(lambda found: {"version": "2024-01-01", "statements": found})


def permissions() -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "models": st.none() | some(GLOBS["model"], 0),
            "providers": st.none() | some(GLOBS["provider"], 0),
            "actions": st.none() | some(ACTION_GLOBS, 0),
            "manage_keys": st.booleans(),
        },
    )


def allowlists() -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"enabled": st.booleans(), "addresses": some(NETWORKS, 0)})


class Tree(Struct, frozen=True):
    """Both chains of one key, leaf first."""

    parents: list[KeyRecord]
    granters: list[KeyRecord]

    def compile(self) -> Chain:
        problems = Problems()
        both = [*self.parents, *self.granters]
        nodes = {record.id: compile_node(record, problems) for record in both}
        problems.raise_if_any()
        return build_chain(
            [nodes[record.id] for record in self.parents],
            [nodes[record.id] for record in self.granters],
        )


def open_statements() -> SearchStrategy[Any]:
    """Statements about everything: their conditions decide."""
    conditions = {name: OPERATORS[name] for name in [*BUDGETS, "max_tokens_under", "ip_in"]}
    return st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["Allow", "Allow", "Deny"]),
            "actions": st.just(["*"]),
            "resources": st.just(["*"]),
            "condition": st.lists(st.sampled_from(BUDGETS) | st.sampled_from(sorted(conditions)))
            .map(lambda names: {name: conditions[name] for name in names[:2]})
            .flatmap(st.fixed_dictionaries),
        }
    )


@st.composite
def conditional_trees(draw: st.DrawFn) -> Tree:
    """One to three keys whose policies differ in their conditions alone."""
    records = [
        KeyRecord(
            id=key_id,
            name=key_id,
            version=1,
            organization_id="org_1",
            policy={
                "version": "2024-01-01",
                "statements": draw(st.lists(open_statements(), min_size=1, max_size=4)),
            },
        )
        for key_id in OWNERS[: draw(st.integers(1, 3))]
    ]
    return Tree(records, records[: draw(st.integers(1, len(records)))])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A line of up to four keys, each granted by any key above it, or by one beside the line."""
    depth = draw(st.sampled_from([1, 1, 2, 3, 4]))
    beside = draw(st.booleans()) and depth > 1
    records = [
        KeyRecord(
            id=key_id,
            name=key_id,
            version=1,
            organization_id="org_1",
            parent_key_id=OWNERS[place - 1] if place else "",
            granted_by=draw(st.sampled_from(OWNERS[:place])) if place else "",
            permissions_apply_to=draw(st.sampled_from(["self", "subtree"])),
            access=draw(st.sampled_from([None, None, None, "full", "custom", "read_only"])),
            permissions=draw(seldom(permissions())),
            policy=draw(policies() | st.none() | policies()),
            ip_allowlist=draw(seldom(seldom(allowlists()))),
        )
        for place, key_id in enumerate(OWNERS[:depth])
    ]
    found = {record.id: record for record in records}
    granters = [records[-1]]
    while granters[-1].granted_by:
        granters.append(found[granters[-1].granted_by])
    if beside:
        # The maker of the leaf is an administrator that is none of its parents.
        granters = [granters[0], _beside(draw(policies())), *granters[1:]]
    return Tree(records[::-1], granters)


def _beside(policy: dict[str, Any] | None) -> KeyRecord:
    return KeyRecord(id="beside", name="beside", version=1, organization_id="org_1", policy=policy)


def requests() -> SearchStrategy[Attributes]:
    return st.builds(
        Attributes,
        action=st.sampled_from(["chat:completions", "chat:stream"])
        | st.sampled_from([*ACTIONS, "files:list"]),
        model=st.sampled_from(NAMES["model"]),
        provider=st.sampled_from(NAMES["provider"]),
        client_ip=st.sampled_from(ADDRESSES),
        max_tokens=st.none() | st.sampled_from([0, 99, 100, 5000]),
        metadata=st.fixed_dictionaries({}, optional={**METADATA, "other": st.just("")}),
        now=st.integers(*YEAR_2024).map(lambda seconds: seconds * 10**9),
    )


def spends() -> SearchStrategy[dict[tuple[str, str], int]]:
    keys = st.tuples(st.sampled_from(OWNERS), st.sampled_from(["day", "month", "total"]))
    return st.dictionaries(keys, st.sampled_from(NANO), max_size=8)
