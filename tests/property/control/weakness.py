"""What the search for escalations must notice: checks taken out one by one.

`WITNESSES` has for each the shortest way to gain by it that the search has found: those are
played in every run of the tests, a search without them by `make escalate`.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from msgspec.structs import replace

from pdp.control import access, keys, lifecycle, placing
from pdp.control.access import Actor
from pdp.policy import chain
from tests.property.control.thief import DENIES, FREE, GUARDS, RIGHTS, Call, World


async def _yes(*_: object) -> bool:
    return True


async def _no(*_: object) -> bool:
    return False


def _without_denies_of_granters(parents: Any, granters: Any) -> Any:
    found = chain.build_chain(parents, granters)
    found._deniers = tuple(node for node in parents if node.denies is not None)
    return found


def _below_nothing(resolved: Any, real: Callable[[Any], Actor] = access.actor_of) -> Actor:
    return replace(real(resolved), above=frozenset())


WEAKNESSES: Final[dict[str, list[tuple[object, str, Any]]]] = {
    "bounds are not compared": [(keys, "is_bound_alike", _yes), (placing, "is_bound_alike", _yes)],
    "everybody gets a secret": [(keys, "_is_to_answer", _no), (lifecycle, "has_granted", _yes)],
    "a granter's Denies do not bind": [("pdp.compile", "build_chain", _without_denies_of_granters)],
    "a key widens itself": [(keys, "check_narrower", lambda *_: None)],
    "keys above are changed": [(access, "actor_of", _below_nothing)],
    "keys go anywhere": [(placing, "reaches", _yes)],
    "a team-level key reaches its team whoever answers for it": [
        (access, "_level_of", lambda granters: granters[0].key_type)
    ],
}


def weaken(weakness: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a check out."""
    for where, name, weak in WEAKNESSES[weakness]:
        if isinstance(where, str):
            monkeypatch.setattr(f"{where}.{name}", weak)
        else:
            monkeypatch.setattr(where, name, weak)


def _world(
    caller: str, above: dict[str, Any] = DENIES, *, below: bool = False, **own: Any
) -> World:
    return World(above, caller, below, own, rich="application", beside="root")


def _call(what: str, target: str = "", place: str = "", **fields: Any) -> Call:
    return Call(what, 0, target, place, fields or {"permissions": RIGHTS})


_BOUND: Final = {**GUARDS[0], "permissions_apply_to": "subtree"}

WITNESSES: Final[dict[str, tuple[World, list[Call]]]] = {
    "bounds are not compared": (
        _world("organization", below=True),
        [_call("create", place="application")],
    ),
    "everybody gets a secret": (
        _world("organization", **GUARDS[0]),
        [_call("rotate", "rich")],
    ),
    "a granter's Denies do not bind": (
        _world("organization", **DENIES),
        [_call("create", place="application")],
    ),
    "a key widens itself": (
        _world("organization", **GUARDS[0]),
        [_call("update", "caller", **FREE)],
    ),
    "keys above are changed": (
        _world("organization", _BOUND, below=True),
        [_call("update", "above", **FREE)],
    ),
    "keys go anywhere": (
        _world("team"),
        [_call("create", place="organization")],
    ),
    "a team-level key reaches its team whoever answers for it": (
        _world("narrow team"),
        [_call("suspend", "team")],
    ),
}
