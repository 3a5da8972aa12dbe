"""Attempts to get around the gateway: each gets its answer, and nothing else happens."""

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from msgspec import Struct

from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.e2e.envoy.attempt import Attempt, Send, http1, http2, load_groups
from tests.e2e.envoy.conftest import Gateway
from tests.e2e.envoy.page import PAGE, page
from tests.e2e.envoy.talk import talk_http1, talk_http2
from tests.provider import Provider
from tests.stack import eventually
from tests.witness import Arrival

ATTEMPTS = [attempt for group in load_groups() for attempt in group.attempts]
REFUSED = [attempt for attempt in ATTEMPTS if not attempt.seen]
PASSING = [attempt for attempt in ATTEMPTS if attempt.seen]
SECRETS = ("authorization", "x-api-key", "api-key")
Counters = dict[tuple[str, str], tuple[int, int]]
REFUSAL = re.compile(r"4\d\d [a-z_]+|50[15] invalid_request|closed|reset")


class Played(Struct):
    """What came back, and what arrived where."""

    answers: list[str]
    provider: list[Arrival]
    admin: list[Arrival]


class Stage:
    """Plays attempts. Those that pass have keys of their own: their bills come later."""

    def __init__(self, gateway: Gateway, admin: Provider) -> None:
        self.gateway = gateway
        self._admin = admin
        self._channel = grpc.insecure_channel(f"127.0.0.1:{gateway.stack.grpc_port}")
        self._stub = pb_grpc.PolicyDecisionServiceStub(self._channel)
        self.keys = {
            name: gateway.stack.create_key(
                name=name,
                permissions={"models": [model]},
                budget_limits={"total": 100.0},
                token_limits={"total": 100_000_000},
                max_requests=1_000_000,
            )
            for name, model in (
                ("key", "gpt-4o"),
                ("other", "gpt-4o-mini"),
                ("refused key", "gpt-4o"),
                ("refused other", "gpt-4o-mini"),
            )
        }

    def play(self, attempt: Attempt) -> Played:
        """Send what the attempt sends; return what happened."""
        provider, admin = self.gateway.provider.arrivals, self._admin.arrivals
        before = len(provider), len(admin)
        whose = "" if attempt.seen else "refused "
        names = [
            {
                "key": self.keys[f"{whose}key"]["api_key"],
                "other": self.keys[f"{whose}other"]["api_key"],
                "ua": user_agent(attempt, number),
            }
            for number in range(len(attempt.sends))
        ]
        answers = talk(self.gateway.envoy.ports.envoy, attempt, names)
        # Streams of HTTP/2 overtake each other.
        arrived = sorted(provider[before[0] :], key=lambda arrival: arrival.header("user-agent"))
        return Played(answers, arrived, admin[before[1] :])

    def counters(self) -> Counters:
        """Return what is spent and held, by refused key and unit of a limit."""
        found = {}
        for name, model in (("refused key", "gpt-4o"), ("refused other", "gpt-4o-mini")):
            key, action = self.keys[name]["api_key"], "chat:completions"
            asked = pb.CheckRequest(api_key=key, action=action, model=model, dry_run=True)
            answer = self._stub.Check(asked, timeout=30)
            assert {limit.unit for limit in answer.limits} == {"nano_usd", "tokens", "requests"}
            for limit in answer.limits:
                found[name, limit.unit] = (limit.spent, limit.held)
        return found

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def user_agent(attempt: Attempt, number: int) -> str:
    """Return what names a request of an attempt at the provider and in the audit log."""
    return f"{attempt.name} ({number})"


def talk(port: int, attempt: Attempt, names: list[dict[str, str]]) -> list[str]:
    """Send the requests of an attempt; return the answers."""
    pairs = list(zip(attempt.sends, names, strict=True))
    if attempt.http == "2":
        return talk_http2(port, [http2(send, found) for send, found in pairs])
    methods = [] if attempt.answers == ["closed"] else methods_of(attempt)
    return talk_http1(port, [http1(send, found) for send, found in pairs], methods)


def methods_of(attempt: Attempt) -> list[str]:
    """Return the method of each answer: a body may hide one more request, a GET."""
    sent = [send.method for send in attempt.sends]
    return (sent + ["GET"] * len(attempt.answers))[: len(attempt.answers)]


NATIVE = pytest.mark.parametrize("gateway", ["native"], indirect=True, scope="module")
"""What is tried here never gets as far as the transport."""


@pytest.fixture(scope="module")
def stage(gateway: Gateway) -> Iterator[Stage]:
    """A gateway with something behind its admin routes, and keys."""

    async def serve() -> Provider:
        admin = Provider(gateway.envoy.ports.admin)
        admin.start()
        return admin

    admin = gateway.run(serve())
    made = Stage(gateway, admin)
    yield made
    made.close()
    gateway.run(admin.stop())


@pytest.fixture(scope="module")
def played(stage: Stage) -> dict[str, Played]:
    """All attempts that pass, played."""
    return {attempt.name: stage.play(attempt) for attempt in PASSING}


@pytest.fixture(scope="module")
def ledger(stage: Stage, played: dict[str, Played]) -> dict[str, dict[str, Any]]:
    """The audit entries of the attempts that pass, by user agent, once all are settled."""
    wanted = {
        arrival.header("user-agent") for found in played.values() for arrival in found.provider
    }

    def settled() -> dict[str, dict[str, Any]] | None:
        entries = [e for e in stage.gateway.stack.audit(2000) if e["status"] != "denied"]
        done = {e["user_agent"]: e for e in entries if e["status"] != "pending"}
        return done if wanted <= done.keys() else None

    found: dict[str, dict[str, Any]] = eventually(settled, "all that passed is settled")
    return found


def test_refusals_say_why_and_are_the_clients_to_mend() -> None:
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS) > 300
    for attempt in REFUSED:
        if attempt.sends[0].method != "HEAD":
            assert all(REFUSAL.fullmatch(answer) for answer in attempt.answers), attempt.name


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.e2e.envoy.page`"


@NATIVE
@pytest.mark.parametrize("attempt", REFUSED, ids=lambda attempt: attempt.name)
def test_what_is_refused_gets_its_answer_arrives_nowhere_and_costs_nothing(
    stage: Stage, attempt: Attempt
) -> None:
    before = stage.counters()
    found = stage.play(attempt)
    assert found == Played(attempt.answers, [], [])
    if attempt.held:
        eventually(lambda: charged(stage.counters()) == charged(before), "the hold is given back")
    else:
        assert stage.counters() == before


@NATIVE
@pytest.mark.parametrize("attempt", PASSING, ids=lambda attempt: attempt.name)
def test_what_passes_gets_its_answer_and_arrives_once_in_its_one_spelling(
    played: dict[str, Played], attempt: Attempt
) -> None:
    found = played[attempt.name]
    assert found.answers == attempt.answers
    for name, arrivals in (("provider", found.provider), ("admin", found.admin)):
        seen = [one for one in attempt.seen if one.to == name]
        assert [(a.method, a.target) for a in arrivals] == [(s.method, s.target) for s in seen]
        for one, arrival in zip(seen, arrivals, strict=True):
            headers = dict(arrival.headers)
            assert {name: headers.get(name) for name in one.headers} == one.headers
            assert not headers.keys() & set(one.absent)
            assert asks_for_usage(arrival.body) or not one.usage


@NATIVE
@pytest.mark.parametrize(
    "attempt", [a for a in PASSING if a.seen[0].to == "provider"], ids=lambda attempt: attempt.name
)
def test_what_passes_was_decided_with_the_model_and_key_that_arrived(
    stage: Stage,
    played: dict[str, Played],
    ledger: dict[str, dict[str, Any]],
    attempt: Attempt,
) -> None:
    arrivals = played[attempt.name].provider
    for one, arrival in zip(attempt.seen, arrivals, strict=True):
        entry = ledger[arrival.header("user-agent")]
        assert models_of(arrival.body) == {entry["model"]} == {one.model}
        assert entry["api_key_id"] == stage.keys[one.key]["id"]
        assert entry["action"] == (
            "chat.completions.stream" if one.usage else "chat.completions.create"
        )
        assert arrival.header("authorization") == "Bearer sk-provider"
        everything = json.dumps(arrival.headers)
        assert not any(key["api_key"] in everything for key in stage.keys.values())
        assert not {name for name, _ in arrival.headers} & {*SECRETS[1:], "x-forwarded-for"}


@NATIVE
def test_no_refused_attempt_is_in_the_ledger_as_allowed(
    stage: Stage, ledger: dict[str, dict[str, Any]]
) -> None:
    names = {user_agent(a, n) for a in REFUSED if not a.held for n in range(len(a.sends))}
    assert ledger, "the attempts that passed"
    assert not names & ledger.keys()


@NATIVE
def test_the_keys_of_the_refused_attempts_could_have_passed(stage: Stage) -> None:
    for number, model in enumerate(("gpt-4o", "gpt-4o-mini")):
        name = ("refused key", "refused other")[number]
        send = Send(body=json.dumps({"model": model}))
        names = {"key": stage.keys[name]["api_key"], "ua": name}
        before = stage.counters()
        port = stage.gateway.envoy.ports.envoy
        assert talk_http1(port, [http1(send, names)], ["POST"]) == ["200"]
        eventually(lambda before=before: spent(stage, before), "it is charged")


def charged(counters: Counters) -> Counters:
    """Return the counters that only usage moves; every allowed request counts as one."""
    return {place: found for place, found in counters.items() if place[1] != "requests"}


def spent(stage: Stage, before: Counters) -> bool:
    """Tell whether something was spent, and nothing is held any more."""
    now = stage.counters()
    return charged(now) != charged(before) and all(held == 0 for _, held in now.values())


def models_of(body: bytes) -> set[Any]:
    """Return every model that some reading of a body could find at its top level."""
    found: list[list[tuple[str, Any]]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        found.append(pairs)

    json.loads(body, object_pairs_hook=keep)
    return {value for name, value in found[-1] if name.casefold() == "model"}


def asks_for_usage(body: bytes) -> bool:
    """Tell whether a stream asks for its usage."""
    asked = json.loads(body or b"{}")
    options = asked.get("stream_options") or {}
    return asked.get("stream") is True and options == {"include_usage": True}
