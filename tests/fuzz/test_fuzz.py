"""A few thousand inputs for each entry point, and proof that broken invariants are noticed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import adapters.envoy.service
import adapters.http.ask
import pdp.serve.decision_service
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.body import BadBody, Body, parse_body
from pdp.counters import memory
from pdp.data.keycache import KeyCache
from pdp.engine import Engine
from pdp.model import Decision
from pdp.records import Extended, Record
from tests.fuzz.episode import DRIVERS, ENTRIES, STEPS, Broken, load, play, replay
from tests.fuzz.oracle import Violation
from tests.fuzz.world import SECRETS, Sink

EPISODES = 10
SEED = "1"
"""Always the same inputs: `make fuzz` looks for others."""


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


async def episodes(driver: str, seed: str, logs: list[Any], count: int = EPISODES) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number in range(count):
        outcomes += await play(driver, f"{seed} {number}", logs)
    return outcomes


@pytest.mark.parametrize("driver", DRIVERS)
async def test_no_input_breaks_an_invariant(driver: str, logs: list[Any]) -> None:
    outcomes = await episodes(driver, SEED, logs)
    assert outcomes.total() == EPISODES * STEPS


async def test_inputs_come_as_far_as_they_can(logs: list[Any]) -> None:
    found = {outcome for driver in ENTRIES for outcome in await episodes(driver, SEED, logs)}
    for outcome in ("ok", "invalid_request", "invalid_api_key", "model_not_allowed", "undecodable"):
        assert {f"ext_authz: {outcome}", f"check: {outcome}"} <= found
    assert {f"nginx: {reason}" for reason in ("ok", "invalid_request", "body_too_large")} <= found
    assert {"report: accepted", "report: duplicate", "report: error"} <= found
    assert {"access_log: settled", "access_log: extended"} <= found


async def test_the_same_seed_gives_the_same_inputs(logs: list[Any]) -> None:
    assert await play("mixed", "7", logs) == await play("mixed", "7", logs)


# -- Planted defects: each must be noticed.


def _last_one_wins(body: bytes, bounds: Any, spoken: str = "") -> Body:
    try:
        return parse_body(body, bounds, spoken)
    except BadBody as error:
        if "`model` more than once" not in str(error):
            raise
        return Body(str(json.loads(body)["model"]), False, False, None, 1)


def _any_key_is_open(self: KeyCache, api_key: str) -> Any:
    return self.by_id("open")


def _no_budget(*_: Any) -> None:
    return None


def _no_movement(self: Any, hold: Any, accounts: Any, moves: Any) -> None:
    self._holds.add(hold)


def _empty(decision: Decision, param: str | None) -> Any:
    return pb.CheckResponse()


def _loud(self: Engine, reason: str, message: str, *rest: Any) -> Decision:
    decision = _deny(self, reason, message, *rest)
    pdp.serve.decision_service._log.info("denied", tried=SECRETS)
    return decision


def _raising(*_: Any) -> Any:
    raise RuntimeError("a defect")


def _forgetful(self: Sink, record: Record) -> None:
    if not isinstance(record, Extended):
        _append(self, record)


_deny = Engine.deny
_append = Sink.append

DEFECTS: dict[str, tuple[str, Any, str, Any, str]] = {
    "the last of two models": (
        "ext_authz",
        adapters.http.ask,
        "parse_body",
        _last_one_wins,
        "not clear",
    ),
    "any key is good": ("ext_authz", KeyCache, "lookup", _any_key_is_open, "another key"),
    "no key is looked at": ("check", KeyCache, "lookup", _any_key_is_open, "another key"),
    "budgets do not bind": ("check", memory, "over_budget", _no_budget, "budget_limits"),
    "nothing is counted": ("check", memory.MemoryCounters, "_hold", _no_movement, "counted"),
    "an empty denial": ("ext_authz", adapters.envoy.service, "_denied", _empty, "an empty answer"),
    "a key in the log": ("ext_authz", Engine, "deny", _loud, "came out"),
    "an error in a report": ("report", Engine, "report", _raising, "a defect"),
    "an error in a log entry": (
        "access_log",
        adapters.envoy.service,
        "usage_of",
        _raising,
        "a defect",
    ),
    "an error that escapes": ("check", Engine, "undecided", _raising, "RuntimeError"),
    "records that are lost": ("access_log", Sink, "append", _forgetful, "replayed"),
}


@pytest.mark.parametrize("name", DEFECTS)
async def test_a_defect_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    driver, where, what, defect, told = DEFECTS[name]
    monkeypatch.setattr(where, what, defect)
    with pytest.raises(Broken, match=told):
        await episodes(driver, SEED, logs, 100)


async def test_a_saved_episode_breaks_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logs: list[Any]
) -> None:
    defect: Callable[..., Any] = _any_key_is_open
    with monkeypatch.context() as planted:
        planted.setattr(KeyCache, "lookup", defect)
        with pytest.raises(Broken) as caught:
            await play("mixed", "1", logs)
        path = caught.value.save(tmp_path)
        with pytest.raises((Violation, AssertionError)):
            await replay(load(path), logs)
    await replay(load(path), logs)
