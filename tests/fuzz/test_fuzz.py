"""A few thousand inputs for each entry point, and proof that broken invariants are noticed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

import adapters.envoy.service
import adapters.http.ask
import pdp.serve.decision_service
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http import form
from adapters.http.body import BadBody, Body, parse_body
from adapters.http.form import Form, parse_form
from adapters.http.size import Size, size_of_form
from adapters.nginx import connection
from adapters.nginx.translate import usage_of
from adapters.nginx.usage import intake
from adapters.nginx.usage.intake import Intake
from adapters.nginx.usage.logfile import LogFile
from pdp.counters import memory
from pdp.counters.holds import Holds
from pdp.data.keycache import KeyCache
from pdp.engine import Engine
from pdp.model import Decision
from pdp.records import Extended, Record
from tests.fuzz.episode import DRIVERS, STEPS, Broken, load, play, replay
from tests.fuzz.oracle import Violation
from tests.fuzz.world import SECRETS, Sink

EPISODES = 6
SEED = "3"
"""Always the same inputs: `make fuzz` looks for others."""

EARLY = "2"
"""A seed that comes upon each defect early."""


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


async def episodes(driver: str, seed: str, logs: list[Any], count: int = EPISODES) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for number in range(count):
        outcomes += await play(driver, f"{seed} {number}", logs)
    return outcomes


_REASONS = ("ok", "invalid_request", "invalid_api_key", "model_not_allowed")
COMES_TO = {
    "ext_authz": (*_REASONS, "undecodable"),
    "ext_authz_forms": ("ok", "invalid_request", "invalid_api_key", "undecodable"),
    "nginx": ("ok", "invalid_request", "body_too_large"),
    "nginx_forms": ("ok", "invalid_request", "body_too_large"),
    "usage_lines": ("settled", "ignored", "malformed"),
    "check": (*_REASONS, "undecodable"),
    "report": ("accepted", "duplicate", "error"),
    "access_log": ("settled", "extended"),
    "mixed": (),
}


@pytest.mark.parametrize("driver", DRIVERS)
async def test_inputs_come_far_and_break_nothing(driver: str, logs: list[Any]) -> None:
    outcomes = await episodes(driver, SEED, logs)
    assert outcomes.total() == EPISODES * STEPS
    assert {f"{driver}: {outcome}" for outcome in COMES_TO[driver]} <= outcomes.keys()


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


def _last_part_wins(data: bytes, content_type: str) -> Form:
    try:
        return parse_form(data, content_type)
    except BadBody as error:
        if "`model` more than once" not in str(error):
            raise
        name = data.split(b'name="model"\r\n\r\n')[-1].partition(b"\r\n")[0]
        return Form(Body(name.decode(), False, False, None, 1), 1, 0, 0)


def _no_files(found: Form, route: Any, strict: bool) -> Size:
    return size_of_form(replace(found, files=0, file_bytes=0), route, strict)


def _no_head(data: bytes, boundary: bytes, parts: int) -> None:
    return None


async def _kept(undo: Any) -> None:
    return None


def _give_up(self: Holds, reservation_id: str) -> Any:
    return self.live.get(reservation_id)


def _impatient(self: LogFile, block: bytes) -> tuple[list[bytes], int]:
    return (block.split(b"\n"), len(block)) if block else ([], 0)


def _telling(self: Intake) -> None:
    _refuse(self)
    intake._log.info("malformed", tried=SECRETS)


def _generous(text: bytes) -> Any:
    usage = usage_of(text)
    return usage and replace(usage, prompt_tokens=usage.prompt_tokens + 1)


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
_refuse = Intake.refuse

DEFECTS: dict[str, tuple[str, Any, str, Any, str]] = {
    "the last of two models": (
        "ext_authz",
        adapters.http.ask,
        "parse_body",
        _last_one_wins,
        "not clear",
    ),
    "any key is good": ("ext_authz", KeyCache, "lookup", _any_key_is_open, "another key"),
    "the last of two models for nginx": (
        "nginx",
        adapters.http.ask,
        "parse_body",
        _last_one_wins,
        "not clear",
    ),
    "any key is good for nginx": ("nginx", KeyCache, "lookup", _any_key_is_open, "another key"),
    "a permission is kept": ("nginx", connection, "_undone", _kept, "nobody got is kept"),
    "the last of two parts": (
        "ext_authz_forms",
        adapters.http.ask,
        "parse_form",
        _last_part_wins,
        "not clear",
    ),
    "lines that end in a line feed": ("ext_authz_forms", form, "_check_frame", _no_head, "clear"),
    "files are not counted": ("nginx_forms", adapters.http.ask, "size_of_form", _no_files, "holds"),
    "an error in a usage line": ("usage_lines", intake, "usage_of", _raising, "a defect"),
    "half a line is taken": ("usage_lines", LogFile, "_split", _impatient, "are counted"),
    "a usage line in the log": ("usage_lines", Intake, "refuse", _telling, "came out"),
    "a line is charged wrongly": ("usage_lines", intake, "usage_of", _generous, "charged"),
    "no key is looked at": ("check", KeyCache, "lookup", _any_key_is_open, "another key"),
    "a hold goes with its first caller": (
        "check",
        Holds,
        "give_up",
        _give_up,
        "of a denial|another caller",
    ),
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
        "a defect|settled nothing",
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
        await episodes(driver, EARLY, logs, 100)


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
