"""No sequence of calls gives a caller a decision that its own chains refuse.

One key calls, with any secret that the answers gave it, and tries to get more: by keys
that it makes, changes, rotates or takes over. What it may do at the start is all that it
may ever do. Limits and IP allowlists are not compared: they come down from the parents.
"""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from pdp.compile import Compiler
from pdp.control.keys import Actor
from pdp.control.resolve import resolve
from pdp.errors import InvalidDocument, PdpError
from pdp.policy.chain import Attributes
from pdp.refusal import key_denial
from pdp.secret import hash_secret
from tests.property.policy.documents import permissions, policies, requests
from tests.store import Store
from tests.unit.control.desk import PEPPER, Desk, opened_desk

RIGHTS = {"manage_keys": True, "view_all_usage": True}
PLACES: list[dict[str, Any]] = [
    {"key_type": "organization"},
    {"key_type": "team", "team_id": "a"},
    {"key_type": "team", "team_id": "b"},
    {"key_type": "user", "team_id": "a", "user_id": "u"},
    {"key_type": "application", "team_id": "a"},
    {"key_type": "application"},
]


class Call(Struct, frozen=True):
    """What is called, by which of the caller's secrets and about which key (both modulo)."""

    what: str
    secret: int
    target: int
    place: int
    fields: dict[str, Any]


def bodies() -> st.SearchStrategy[dict[str, Any]]:
    """Return what decides of a key's body; it always asks for rights of its own."""
    return st.fixed_dictionaries(
        {},
        optional={
            "permissions": permissions().map(lambda given: {**given, **RIGHTS}) | st.just(RIGHTS),
            "policy": policies(),
            "access": st.sampled_from(["full", "read_only"]),
            "permissions_apply_to": st.sampled_from(["self", "subtree"]),
        },
    )


def patches() -> st.SearchStrategy[dict[str, Any]]:
    """Return patches, of which many take guards away."""
    gone: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [
            {"policy": None},
            {"permissions": {"models": None, "actions": None, "providers": None, **RIGHTS}},
            {"access": None, "permissions_apply_to": "self"},
            {"granted_by": "self"},
        ]
    )
    return st.lists(bodies() | gone, min_size=1, max_size=2).map(merged)


def merged(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for each in found for name, value in each.items()}


def calls() -> st.SearchStrategy[Call]:
    return st.builds(
        Call,
        st.sampled_from(["create", "temporary", "update", "update", "rotate", "resume", "revoke"]),
        st.integers(0, 5),
        st.integers(0, 9),
        st.integers(0, len(PLACES) - 1),
        patches(),
    )


class Thief:
    """A caller, the secrets it has come by, and the keys it has heard of."""

    def __init__(self, desk: Desk, secret: str, key_ids: list[str]) -> None:
        self.desk = desk
        self.secrets = [secret]
        self.key_ids = key_ids

    async def make(self, call: Call) -> None:
        """Make one call; it may well be refused."""
        secret = self.secrets[call.secret % len(self.secrets)]
        key_id = self.key_ids[call.target % len(self.key_ids)]
        try:
            actor = await self.desk.keys.authenticate(secret, "192.0.2.1", self.desk.now)
            answer = await self._ask(actor, call, key_id)
        except PdpError:
            return
        self.key_ids.append(answer["id"])
        if "api_key" in answer:
            self.secrets.append(answer["api_key"])

    async def _ask(self, actor: Actor, call: Call, key_id: str) -> dict[str, Any]:
        keys, now = self.desk.keys, self.desk.now
        fields = {
            name: actor.key_id if value == "self" and name == "granted_by" else value
            for name, value in call.fields.items()
        }
        body = {name: value for name, value in fields.items() if value is not None}
        body.pop("granted_by", None)
        match call.what:
            case "create":
                parent = {"parent_key_id": key_id} if call.target % 2 else {}
                return await keys.create(actor, {**PLACES[call.place], **parent, **body}, now)
            case "temporary":
                return await keys.create_temporary(actor, {**body, "expires_in": 3600}, now)
            case "update":
                return await keys.update(actor, key_id, fields, now)
            case "rotate":
                return await keys.rotate(actor, key_id, {"grace_period": 60}, now)
            case "resume":
                return await keys.resume(actor, key_id, now)
        return await keys.revoke(actor, key_id, now, cascade=False)

    async def may(self, secret: str, request: Attributes) -> bool:
        """Tell what a Check with the secret would be answered, but for limits."""
        _, resolved = await resolve(self.desk.database, hash_secret(secret, PEPPER), "")
        assert resolved is not None
        key = Compiler().compile(resolved)
        if key_denial(key, self.desk.now) is not None:
            return False
        return key.chain.evaluate(request, lambda *_: 0).allowed


async def planted(
    desk: Desk, place: dict[str, Any], key_ids: list[str], above: int, fields: dict[str, Any]
) -> dict[str, Any]:
    """Return a key, below one of others where it may be, else where it goes by itself."""
    parent = {"parent_key_id": key_ids[above % len(key_ids)]}
    try:
        return await desk.create(**place, **parent, **fields)
    except InvalidDocument:
        return await desk.create(**place, **fields)


@settings(max_examples=400)
@given(
    st.integers(0, len(PLACES) - 1),
    st.integers(0, 3),
    st.lists(
        st.tuples(st.integers(0, len(PLACES) - 1), st.integers(0, 3), bodies()),
        min_size=2,
        max_size=3,
    ),
    bodies(),
    st.lists(calls(), min_size=1, max_size=8),
    st.lists(requests(), min_size=1, max_size=4),
)
def test_no_sequence_of_calls_gives_a_caller_more_than_it_has(
    sqlite_store: Store,
    place: int,
    parent: int,
    others: list[tuple[int, int, dict[str, Any]]],
    own: dict[str, Any],
    asked_for: list[Call],
    probes: list[Attributes],
) -> None:
    async def play() -> None:
        async with sqlite_store.initialized() as url, opened_desk(url) as desk:
            key_ids = [desk.root.key_id]
            for other, above, fields in others:
                made = await planted(desk, PLACES[other], key_ids, above, fields)
                key_ids.append(made["id"])
            fields = {"permissions": RIGHTS, **own}
            mine = await planted(desk, PLACES[place], key_ids, parent, fields)
            thief = Thief(desk, mine["api_key"], [*key_ids, mine["id"]])
            asked = [replace(probe, client_ip="192.0.2.1") for probe in probes]
            had = [await thief.may(mine["api_key"], request) for request in asked]
            for call in asked_for:
                desk.now += 1
                await thief.make(call)
            for secret in thief.secrets:
                for request, could in zip(asked, had, strict=True):
                    assert could or not await thief.may(secret, request), request

    asyncio.run(play())
