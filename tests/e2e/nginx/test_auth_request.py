"""The configuration that asks by `auth_request`, without bodies."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from adapters.http.routes import ROUTES
from tests.e2e.envoy.attempt import ASK as ASK_OF_TABLE
from tests.e2e.envoy.attempt import Attempt, Send, http1, http2, load_groups
from tests.e2e.envoy.talk import talk_http1, talk_http2
from tests.e2e.envoy.test_attempts import REFUSAL, SECRETS, methods_of
from tests.e2e.nginx.conftest import NginxGateway, raw
from tests.e2e.nginx.test_gateway import error_of

ASK = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
PATH = "/models/gpt-4o/v1/chat/completions"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxGateway]:
    folder = tmp_path_factory.mktemp("nginx")
    made = NginxGateway(folder, config="auth-request.conf", PDP_BUDGET_STATUS="402")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def key(own: NginxGateway) -> dict[str, Any]:
    return own.stack.create_key(permissions={"models": ["gpt-4o"]}, rate_limits={"per_hour": 1000})


def test_the_path_names_the_model_and_the_answer_is_metered(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    status, headers, _ = raw(own, key, ASK, path=PATH + "?a=b")
    assert status == 200
    assert headers["x-ratelimit-limit-requests"] == "1000"
    seen = own.provider.seen[-1]
    assert seen[0][":path"] == "/v1/chat/completions"
    assert seen[0]["authorization"] == "Bearer sk-provider"
    assert seen[1] == json.loads(ASK)
    line = own.line(headers["x-request-id"])
    assert (line["told"]["prompt_tokens"], line["told"]["completion_tokens"]) == (11, 7)
    entry = own.stack.entry(headers["x-request-id"])
    assert (entry["model"], entry["action"]) == ("gpt-4o", "chat.completions.create")
    assert entry["ip_address"] == "127.0.0.1"


def test_a_stream_is_what_the_client_says_it_is(own: NginxGateway, key: dict[str, Any]) -> None:
    stream = json.dumps({**json.loads(ASK), "stream": True})
    status, headers, _ = raw(own, key, stream, path=PATH, headers={"x-stream": "1"})
    assert status == 200
    line = own.line(headers["x-request-id"])
    assert (line["told"], line["chunks"], line["sse"]) == ({}, 5, True)
    entry = own.stack.entry(headers["x-request-id"])
    assert entry["action"] == "chat.completions.stream"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/models/gpt-4/v1/chat/completions", 403, "model_not_allowed"),
        ("/models/gpt-4o/v1/files", 403, "route_not_allowed"),
        ("/models/gpt-4o/v1/chat/completions?api_key=vsk_prod_x", 401, "invalid_api_key"),
        ("/v1/chat/completions", 403, "route_not_allowed"),
        ("/_pdp/auth", 403, "route_not_allowed"),
    ],
)
def test_denials_look_like_those_of_the_other_way(
    own: NginxGateway, key: dict[str, Any], path: str, status: int, code: str
) -> None:
    before = len(own.provider.arrivals)
    spoofed = {"x-pdp-model": "gpt-4o", "x-pdp-uri": "/v1/models", "x-pdp-status": "200"}
    got, headers, body = raw(own, key, ASK, path=path, headers=spoofed)
    assert (got, error_of(body)["code"]) == (status, code)
    assert headers["x-should-retry"] == "false"
    assert not {name for name in headers if name.startswith("x-pdp")}
    assert len(own.provider.arrivals) == before


def test_402_and_429_get_through_with_their_headers(own: NginxGateway) -> None:
    poor = own.stack.create_key(budget_limits={"total": 0.0})
    status, headers, body = raw(own, poor, ASK, path=PATH)
    assert (status, error_of(body)["code"]) == (402, "budget_exceeded")
    assert headers["x-should-retry"] == "false"
    eager = own.stack.create_key(name="Ähm", rate_limits={"per_hour": 0})
    status, headers, body = raw(own, eager, ASK, path=PATH)
    assert (status, error_of(body)["code"]) == (429, "rate_limit_exceeded")
    assert headers["x-ratelimit-limit-requests"] == "0"
    assert "Ähm" in error_of(body)["message"]
    status, headers, body = raw(own, None, ASK, path=PATH)
    assert (status, error_of(body)["code"]) == (401, "missing_key")


def test_a_body_without_a_length_is_refused(own: NginxGateway, key: dict[str, Any]) -> None:
    status, _, body = raw(own, key, b"", path=PATH, headers={"content-length": ""})
    assert (status, error_of(body)["code"]) == (400, "invalid_request")


# -- The table of attempts, as far as it is about more than bodies

UNSEEN = ("JSON that two parsers could read differently", "Content types and encodings")
"""Groups about bodies, which nobody looks at here: that is the price of this way."""

PATHS = {path for _, path in ROUTES}
OF_PROVIDER = ("200", "400 unread", "500 None")
"""What answers that come from behind the gateway look like."""


def moved(send: Send) -> Send:
    """Return a request with the model before its path, as this configuration wants it."""

    def to(text: str) -> str:
        return text.replace("/v1/", "/models/gpt-4o/v1/")

    return replace(send, target=to(send.target), raw=to(send.raw))


def is_of_bodies(group: str, attempt: Attempt) -> bool:
    odd = any(send.encoded or send.body not in (ASK_OF_TABLE, "") for send in attempt.sends)
    return group in UNSEEN or odd


def is_refusal(answer: str) -> bool:
    # The latter is all that NGINX says of a refused request whose body it cannot throw away.
    return bool(REFUSAL.fullmatch(answer)) or answer.startswith("400 with b'<html>")


def play(own: NginxGateway, attempt: Attempt, keys: dict[str, str]) -> tuple[list[str], list[Any]]:
    """Return the answers to the requests of an attempt, and what arrived at the provider."""
    before = len(own.provider.arrivals)
    pairs = [(moved(send), {**keys, "ua": attempt.name}) for send in attempt.sends]
    if attempt.http == "2":
        answers = talk_http2(own.nginx.port2, [http2(*pair) for pair in pairs])
    else:
        methods = [] if attempt.answers == ["closed"] else methods_of(attempt)
        answers = talk_http1(own.nginx.port, [http1(*pair) for pair in pairs], methods)
    return answers, own.provider.arrivals[before:]


def test_what_does_not_get_around_the_other_way_does_not_get_around_this_one(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    other = own.stack.create_key(permissions={"models": ["gpt-4o-mini"]})
    keys = {"key": key["api_key"], "other": other["api_key"]}
    passed = 0
    for group in load_groups():
        for attempt in map(Attempt.through_nginx, group.attempts):
            answers, arrived = play(own, attempt, keys)
            served = [answer for answer in answers if answer in OF_PROVIDER]
            if attempt.sends[0].method != "HEAD":
                others = [answer for answer in answers if answer not in OF_PROVIDER]
                assert all(map(is_refusal, others)), (attempt.name, answers)
            assert len(arrived) == len(served), (attempt.name, answers)
            if not is_of_bodies(group.group, attempt):
                assert attempt.seen or not arrived, attempt.name
            passed += len(arrived)
            for each in arrived:
                names = {name for name, _ in each.headers}
                assert each.target.partition("?")[0] in PATHS, attempt.name
                assert each.header("authorization") == "Bearer sk-provider", attempt.name
                assert not names & {*SECRETS[1:], "x-forwarded-for", "x-pdp-model"}, attempt.name
                assert not any(raw in json.dumps(each.headers) for raw in keys.values())
    own.stack.settle()
    entries = own.stack.audit(2000)
    agents = {attempt.name for group in load_groups() for attempt in group.attempts}
    allowed = [e for e in entries if e["user_agent"] in agents and e["status"] != "denied"]
    assert {entry["model"] for entry in allowed} <= {"gpt-4o", ""}
    assert len(allowed) >= passed > 50


def test_nothing_passes_while_the_pdp_is_away(own: NginxGateway, key: dict[str, Any]) -> None:
    own.stack.stop()
    before = len(own.provider.arrivals)
    status, headers, body = raw(own, key, ASK, path=PATH)
    assert (status, error_of(body)["code"]) == (503, "unavailable")
    assert headers["retry-after"] == "1"
    assert len(own.provider.arrivals) == before
