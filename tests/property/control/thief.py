"""A search for sequences of calls that give a caller a decision that its own chains refuse.

One key calls, with any secret that the answers gave it, and tries to get more: by keys
that it makes, changes, rotates or takes over. What it may do at the start is all that it
may ever do, and what it does not reach stays as it is. Limits and IP allowlists are not
compared: they come down from the parents.

There are few models, actions and guards, so that each attempt that would succeed if one
check were missing comes up often: `weakness.py` takes them out one by one.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct

from pdp.compile import Compiler
from pdp.control.initialize import Initialized
from pdp.control.keys import Actor
from pdp.control.resolve import resolve
from pdp.control.rotation import new_secret
from pdp.errors import PdpError
from pdp.policy.chain import Attributes
from pdp.refusal import key_denial
from pdp.secret import hash_secret
from pdp.store import keys as store
from pdp.store.key_list import Reach, Wanted, list_keys
from pdp.store.keys import Document, KeyRow, SecretRow
from pdp.store.organizations import Organization, insert_organization
from tests.store import Store
from tests.unit.control.desk import NOON, PEPPER, Desk, opened_desk

RIGHTS = {"manage_keys": True, "view_all_usage": True}
ALLOW = {"effect": "Allow", "actions": ["*"], "resources": ["*"]}
DENY = {"effect": "Deny", "actions": ["*"], "resources": ["model:b"]}
VERSION = "2024-01-01"
DENIES: dict[str, Any] = {"policy": {"version": VERSION, "statements": [ALLOW, DENY]}}
GUARDS: list[dict[str, Any]] = [
    {"permissions": {"models": ["a"]}},
    {"permissions": {"actions": ["chat:*"]}},
    {"policy": {"version": VERSION, "statements": [{**ALLOW, "resources": ["model:a"]}]}},
]
BINDING = [DENIES, DENIES, *({**each, "permissions_apply_to": "subtree"} for each in GUARDS[:2])]
"""What binds the keys below."""
WIDE: list[dict[str, Any]] = [
    {"permissions": RIGHTS},
    {"permissions": {**RIGHTS, "models": ["a", "b"]}},
    {"policy": {"version": VERSION, "statements": [ALLOW]}},
]
FREE: dict[str, Any] = {"policy": None, "permissions": {**RIGHTS, "models": None, "actions": None}}
PATCHES: list[dict[str, Any]] = [
    FREE,
    FREE,
    {"permissions": {**RIGHTS, "models": ["b"]}},
    {"permissions_apply_to": "self"},
    {"granted_by": "self"},
]
PLACES: dict[str, dict[str, Any]] = {
    "organization": {"key_type": "organization"},
    "team": {"key_type": "team", "team_id": "x"},
    "other team": {"key_type": "team", "team_id": "y"},
    "user": {"key_type": "user", "team_id": "x", "user_id": "u"},
    "application": {},
}
ADDRESS = "192.0.2.1"
PROBES = [
    Attributes(action, model, "openai", ADDRESS, None, {}, NOON)
    for action in ("chat:completions", "embeddings:create")
    for model in ("a", "b")
]
AIMS = [
    *[("create", "")] * 3,
    *[("create", name) for name in ("root", "above", "rich", "team", "other", "own")],
    *[("temporary", "")] * 2,
    *[("update", name) for name in ("caller", "caller", "caller", "above", "above", "rich", "own")],
    *[("rotate", name) for name in ("rich", "rich", "caller", "own")],
    *[("suspend", "team"), ("suspend", "team"), ("resume", "rich"), ("revoke", "other")],
]
"""What is called about which key; of making one, below which."""


class Call(Struct, frozen=True):
    """What is called, by which of the caller's secrets (modulo) and about which key."""

    what: str
    secret: int
    target: str
    place: str
    fields: dict[str, Any]


class World(Struct, frozen=True):
    """A small tree: a key `above` and maybe a caller below it, a team, and a `rich` key.

    The operator has made all, but for a `narrow team`: a team-level key that an
    application-level one made. `rich` has everything, and stands below `beside`.
    """

    above: dict[str, Any]
    caller: str
    is_below: bool
    own: dict[str, Any]
    rich: str
    beside: str


@st.composite
def calls(draw: st.DrawFn) -> Call:
    what, target = draw(st.sampled_from(AIMS))
    fields = draw(st.sampled_from(PATCHES if what == "update" else WIDE))
    place = draw(st.sampled_from(sorted(PLACES))) if what == "create" else ""
    return Call(what, draw(st.sampled_from([0, 0, 0, 1, 2])), target, place, fields)


def worlds() -> st.SearchStrategy[World]:
    callers = st.sampled_from([*["organization"] * 3, "team", "application", *["narrow team"] * 2])
    own = st.sampled_from([{}, {}, *GUARDS, DENIES, DENIES])
    beside = st.sampled_from(["root", "above", "caller", "team"])
    rich = st.sampled_from(["application", "team", "user"])
    return st.builds(World, st.sampled_from(BINDING), callers, st.booleans(), own, rich, beside)


class Thief:
    """A caller, the secrets it has come by, and the keys it has heard of."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.organization = desk.root.organization_id
        self.secrets: list[str] = []
        self.ids = {"": ""}
        self._planted: list[tuple[KeyRow, SecretRow]] = []

    def plant(
        self, name: str, place: str, parent: str | None, fields: dict[str, Any], granter: str
    ) -> str:
        """Have a key made; return its secret."""
        made = {"permissions_apply_to": "self", **PLACES[place], **fields}
        document = Document(
            permissions={**RIGHTS, **made.pop("permissions", {})}, policy=made.pop("policy", None)
        )
        row = KeyRow(
            id=f"{self.organization}_{name}",
            **{"name": name, "key_type": "application", **made},
            organization_id=self.organization,
            version=1,
            status="active",
            parent_key_id=None if parent is None else self.ids[parent],
            granted_by=None if parent is None else self.ids[granter],
            document=document,
            created_at=NOON + len(self.ids),
        )
        raw, secret = new_secret(row, PEPPER, NOON)
        self.ids[name] = row.id
        self._planted.append((row, secret))
        return raw

    async def settle(self, world: World) -> None:
        """Make the world: in one transaction, as there are many."""
        self.plant("root", "organization", None, {}, "")
        self.plant("above", "organization", "root", world.above, "root")
        self.plant("maker", "application", "root", {}, "root")
        granter, parent = "root", "above" if world.is_below else "root"
        if world.caller == "narrow team":
            granter = parent = "maker"
        place = "team" if world.caller == "narrow team" else world.caller
        self.secrets.append(self.plant("caller", place, parent, world.own, granter))
        self.plant("team", "team", "root", {}, "root")
        self.plant("other", "other team", "root", {}, "root")
        self.plant("rich", world.rich, world.beside, {}, "root")
        async with self.desk.database.writing() as connection:
            organization = Organization(self.organization, "", "UTC", NOON)
            await insert_organization(connection, organization)
            for row, secret in self._planted:
                await store.insert_key(connection, row)
                await store.insert_secret(connection, secret)

    async def make(self, call: Call) -> None:
        """Make one call; it may well be refused."""
        secret = self.secrets[call.secret % len(self.secrets)]
        self.desk.now += 1
        try:
            actor = await self.desk.keys.authenticate(secret, ADDRESS, self.desk.now)
            answer = await self._ask(actor, call)
        except PdpError:
            return
        self.ids["own"] = answer["id"]
        if "api_key" in answer:
            self.secrets.append(answer["api_key"])

    async def _ask(self, actor: Actor, call: Call) -> dict[str, Any]:
        api, now = self.desk.keys, self.desk.now
        key_id = self.ids.get(call.target, "")
        match call.what:
            case "create":
                body = {**PLACES[call.place], "parent_key_id": key_id, **call.fields}
                return await api.create(actor, body, now)
            case "temporary":
                return await api.create_temporary(actor, {**call.fields, "expires_in": 3600}, now)
            case "update":
                own = {"granted_by": actor.key_id} if "granted_by" in call.fields else {}
                return await api.update(actor, key_id, {**call.fields, **own}, now)
            case "rotate":
                return await api.rotate(actor, key_id, {"grace_period": 60}, now)
            case "suspend":
                return await api.suspend(actor, key_id, now)
            case "resume":
                return await api.resume(actor, key_id, now)
        return await api.revoke(actor, key_id, now, cascade=True)

    async def may(self, secret: str) -> list[bool]:
        """Tell what Checks with the secret would be answered, but for limits."""
        _, resolved = await resolve(self.desk.database, hash_secret(secret, PEPPER), "")
        assert resolved is not None
        key = Compiler().compile(resolved)
        alive = key_denial(key, self.desk.now) is None
        return [alive and key.chain.evaluate(each, lambda *_: 0).allowed for each in PROBES]

    async def rows(self) -> dict[str, KeyRow]:
        """Return all keys of the organization by id."""
        async with self.desk.database.reading() as connection:
            found = await list_keys(connection, Reach(self.organization), Wanted(now=self.desk.now))
        return {row.id: row for row in found}

    def beyond(self, world: World, rows: dict[str, KeyRow]) -> set[str]:
        """Return the keys that the caller does not reach, by a definition of its own."""
        if world.caller == "organization":
            return set()
        own = self.ids["caller"]
        near = {row.id for row in rows.values() if own in lineage(row, rows)}
        if world.caller == "team":
            near |= {row.id for row in rows.values() if row.team_id == "x"}
        return set(rows) - near

    def above(self, rows: dict[str, KeyRow]) -> set[str]:
        own = self.ids["caller"]
        return set(lineage(rows[own], rows)) - {own}


def lineage(row: KeyRow, rows: dict[str, KeyRow]) -> list[str]:
    """Return the ids of a key and of those above it."""
    above = rows.get(row.parent_key_id or "")
    return [row.id, *(lineage(above, rows) if above else [])]


def sequences() -> st.SearchStrategy[list[Call]]:
    """Return sequences of calls."""
    return st.lists(calls(), min_size=2, max_size=5)


Play = Callable[[World, list[Call]], None]


@contextmanager
def playing(databases: Store) -> Iterator[Play]:
    """Give what plays an example, and asserts that nothing was gained.

    One database for all examples, an organization for each.
    """
    numbers = count()

    async def played(desk: Desk, world: World, asked_for: list[Call]) -> None:
        name = f"org{next(numbers)}"
        thief = Thief(Desk(desk.database, Initialized(name, ""), desk.url))
        await thief.settle(world)
        had, before = await thief.may(thief.secrets[0]), await thief.rows()
        for call in asked_for:
            await thief.make(call)
        for secret in thief.secrets:
            for probe, could, can in zip(PROBES, had, await thief.may(secret), strict=True):
                assert could or not can, probe
        after, beyond = await thief.rows(), thief.beyond(world, before)
        for key_id in beyond | thief.above(before):
            assert after[key_id] == before[key_id]
        new = [row for key_id, row in after.items() if key_id not in before]
        assert not [row for row in new if row.parent_key_id in beyond]

    async def opened(stack: AsyncExitStack) -> Desk:
        url = await stack.enter_async_context(databases.initialized())
        return await stack.enter_async_context(opened_desk(url))

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        desk = runner.run(opened(stack))
        yield lambda world, asked_for: runner.run(played(desk, world, asked_for))
        runner.run(stack.aclose())
