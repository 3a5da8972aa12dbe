"""The configuration that asks by `auth_request`, without bodies."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

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
    entry = next(e for e in own.stack.audit(50) if e["request_id"] == headers["x-request-id"])
    assert (entry["model"], entry["action"]) == ("gpt-4o", "chat.completions.create")
    assert entry["ip_address"] == "127.0.0.1"


def test_a_stream_is_what_the_client_says_it_is(own: NginxGateway, key: dict[str, Any]) -> None:
    stream = json.dumps({**json.loads(ASK), "stream": True})
    status, headers, _ = raw(own, key, stream, path=PATH, headers={"x-stream": "1"})
    assert status == 200
    line = own.line(headers["x-request-id"])
    assert (line["told"], line["chunks"], line["sse"]) == ({}, 5, True)
    entry = next(e for e in own.stack.audit(50) if e["request_id"] == headers["x-request-id"])
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


def test_nothing_passes_while_the_pdp_is_away(own: NginxGateway, key: dict[str, Any]) -> None:
    own.stack.stop()
    before = len(own.provider.arrivals)
    status, headers, body = raw(own, key, ASK, path=PATH)
    assert (status, error_of(body)["code"]) == (503, "unavailable")
    assert headers["retry-after"] == "1"
    assert len(own.provider.arrivals) == before
