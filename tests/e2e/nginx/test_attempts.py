"""The attempts of the table, through NGINX: as safe as through Envoy, if not always alike."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.envoy.attempt import Attempt, http1, http2, load_groups
from tests.e2e.envoy.talk import talk_http1, talk_http2
from tests.e2e.envoy.test_attempts import (
    REFUSAL,
    SECRETS,
    Played,
    asks_for_usage,
    methods_of,
    models_of,
    user_agent,
)
from tests.e2e.nginx.conftest import NginxGateway
from tests.provider import Provider

ATTEMPTS = [one.through_nginx() for group in load_groups() for one in group.attempts]
REFUSED = [attempt for attempt in ATTEMPTS if not attempt.seen]
PASSING = [attempt for attempt in ATTEMPTS if attempt.seen]
MODELS = {"key": "gpt-4o", "other": "gpt-4o-mini"}


class Stage:
    """Plays attempts; those that are refused have keys of their own, whose counters stand still."""

    def __init__(self, gateway: NginxGateway, admin: Provider) -> None:
        self.gateway = gateway
        self.admin = admin
        self.keys = {
            f"{whose}{name}": gateway.stack.create_key(
                name=f"{whose}{name}",
                permissions={"models": [model]},
                budget_limits={"total": 1000.0},
                max_requests=1_000_000,
            )
            for whose in ("", "refused ")
            for name, model in MODELS.items()
        }

    def play(self, attempt: Attempt) -> Played:
        provider, admin = self.gateway.provider.arrivals, self.admin.arrivals
        before = len(provider), len(admin)
        whose = "" if attempt.seen else "refused "
        pairs = [
            (
                send,
                {
                    "key": self.keys[f"{whose}key"]["api_key"],
                    "other": self.keys[f"{whose}other"]["api_key"],
                    "ua": user_agent(attempt, number),
                },
            )
            for number, send in enumerate(attempt.sends)
        ]
        if attempt.http == "2":
            answers = talk_http2(self.gateway.nginx.port2, [http2(*pair) for pair in pairs])
        else:
            methods = [] if attempt.answers == ["closed"] else methods_of(attempt)
            sent = [http1(*pair) for pair in pairs]
            answers = talk_http1(self.gateway.nginx.port, sent, methods)
        # Streams of HTTP/2 overtake each other.
        arrived = sorted(provider[before[0] :], key=lambda arrival: arrival.header("user-agent"))
        return Played(answers, arrived, admin[before[1] :])

    def counters(self) -> list[tuple[str, str, int, int]]:
        """Return what is spent and held under the keys of refused attempts."""
        return [
            (name, limit.unit, limit.spent, limit.held)
            for name, model in MODELS.items()
            for limit in asyncio.run(
                self.gateway.stack.check(
                    self.keys[f"refused {name}"]["api_key"], model=model, dry_run=True
                )
            ).limits
        ]


@pytest.fixture(scope="module")
def stage(gateway: NginxGateway) -> Iterator[Stage]:
    async def serve() -> Provider:
        admin = Provider(gateway.nginx.admin_port)
        admin.start()
        return admin

    admin = gateway.run(serve())
    yield Stage(gateway, admin)
    gateway.run(admin.stop())


@pytest.fixture(scope="module")
def played(stage: Stage) -> dict[str, Played]:
    """All attempts, played, the refused ones first."""
    before = stage.counters()
    found = {attempt.name: stage.play(attempt) for attempt in REFUSED}
    assert stage.counters() == before, "what is refused costs nothing"
    assert len(before) == 4
    return found | {attempt.name: stage.play(attempt) for attempt in PASSING}


@pytest.fixture(scope="module")
def ledger(stage: Stage, played: dict[str, Played]) -> dict[str, dict[str, Any]]:
    """The audit entries of what was allowed, by user agent."""
    stage.gateway.stack.settle()
    entries = stage.gateway.stack.audit(2000)
    return {entry["user_agent"]: entry for entry in entries if entry["status"] != "denied"}


@pytest.mark.parametrize("attempt", REFUSED, ids=lambda attempt: attempt.name)
def test_what_is_refused_gets_its_answer_and_arrives_nowhere(
    played: dict[str, Played], ledger: dict[str, Any], attempt: Attempt
) -> None:
    assert played[attempt.name] == Played(attempt.answers, [], [])
    assert not {user_agent(attempt, number) for number in range(len(attempt.sends))} & ledger.keys()
    if attempt.sends[0].method != "HEAD":
        assert all(REFUSAL.fullmatch(answer) for answer in attempt.answers)


@pytest.mark.parametrize("attempt", PASSING, ids=lambda attempt: attempt.name)
def test_what_passes_arrives_once_as_it_was_decided(
    stage: Stage, played: dict[str, Played], ledger: dict[str, dict[str, Any]], attempt: Attempt
) -> None:
    found = played[attempt.name]
    assert found.answers == attempt.answers
    for name, arrivals in (("provider", found.provider), ("admin", found.admin)):
        seen = [one for one in attempt.seen if one.to == name]
        assert [(a.method, a.target) for a in arrivals] == [(s.method, s.target) for s in seen]
        for one, arrival in zip(seen, arrivals, strict=True):
            assert not dict(arrival.headers).keys() & set(one.absent)
            assert asks_for_usage(arrival.body) or not one.usage
    for one, arrival in zip(attempt.seen, found.provider, strict=False):
        entry = ledger[arrival.header("user-agent")]
        assert (
            (models_of(arrival.body) if arrival.body else {""}) == {entry["model"]} == {one.model}
        )
        assert entry["api_key_id"] == stage.keys[one.key]["id"]
        assert arrival.header("authorization") == "Bearer sk-provider"
        everything = json.dumps(arrival.headers)
        assert not any(key["api_key"] in everything for key in stage.keys.values())
        assert not {name for name, _ in arrival.headers} & {*SECRETS[1:], "x-forwarded-for"}


def test_the_keys_of_the_refused_attempts_could_have_passed(stage: Stage) -> None:
    before = stage.counters()
    usual = Attempt("usual", "200")
    for name, model in MODELS.items():
        names = {"key": stage.keys[f"refused {name}"]["api_key"], "ua": name}
        (send,) = usual.sends
        request = http1(send, names).replace(b'"gpt-4o"', f'"{model}"'.encode())
        length = str(len(send.body) + len(model) - len("gpt-4o")).encode()
        request = request.replace(str(len(send.body)).encode(), length, 1)
        assert talk_http1(stage.gateway.nginx.port, [request], ["POST"]) == ["200"]
    assert stage.counters() != before
