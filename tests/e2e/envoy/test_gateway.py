"""What clients of a real Envoy get, and what the ledger says afterwards."""

import contextlib
import gzip
import http.client
import json
from typing import Any

import openai
import pytest

from tests.e2e.envoy.conftest import Gateway
from tests.stack import eventually

ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 50,
}


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> dict[str, Any]:
    return gateway.stack.create_key(
        name="App", permissions={"models": ["gpt-4o"]}, budget_limits={"total": 100.0}
    )


def raw(
    gateway: Gateway,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    body: bytes | str | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], Any]:
    """Send one request as it stands; return (status, headers, decoded body)."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.envoy.ports.envoy, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        data = b"" if body is None else body.encode() if isinstance(body, str) else body
        for name, value in {"content-length": str(len(data)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        # It may be refused before all of it was sent; the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(data)
        answer = connection.getresponse()
        text = answer.read()
        found = {name.lower(): value for name, value in answer.getheaders()}
        is_json = found.get("content-type", "").startswith("application/json")
        return answer.status, found, json.loads(text) if is_json else text
    finally:
        connection.close()


def test_a_completion_is_decided_metered_and_charged(gateway: Gateway, key: dict[str, Any]) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, extra_headers={"x-request-id": "spoofed", "x-pdp-force-usage": "1"}
    )
    completion = answer.parse()
    assert completion.choices[0].message.content == "hi"
    request_id = answer.headers["x-request-id"]
    assert request_id != "spoofed"
    entry = gateway.settled(request_id)
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"] == {"prompt": 11, "completion": 7, "total": 18}
    assert entry["cost_usd"] == pytest.approx((7 * 2.5 + 4 * 1.25 + 7 * 10) / 1e6)
    assert (entry["ip_address"], entry["model"]) == ("127.0.0.1", "gpt-4o")
    assert entry["user_agent"].startswith("OpenAI/Python")
    headers, body = gateway.provider.seen[-1]
    assert headers["authorization"] == "Bearer sk-provider"
    assert key["api_key"] not in json.dumps(headers)
    assert not {"x-api-key", "api-key", "x-pdp-force-usage", "accept-encoding"} & headers.keys()
    assert body == ASK


@pytest.mark.parametrize("asks_for_usage", [True, False])
def test_a_stream_is_metered_whether_or_not_the_client_asks_for_usage(
    gateway: Gateway, key: dict[str, Any], asks_for_usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, **options
    )
    chunks = list(answer.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "yyyyy"
    entry = gateway.settled(answer.headers["x-request-id"])
    assert entry["action"] == "chat.completions.stream"
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"]["total"] == 18
    headers, body = gateway.provider.seen[-1]
    assert body["stream_options"] == {"include_usage": True}
    assert "x-pdp-force-usage" not in headers


def test_a_stream_that_the_client_leaves_is_charged_by_estimate(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, user="endless"
    )
    stream = answer.parse()
    for _, _chunk in zip(range(3), stream, strict=False):
        pass
    stream.close()
    entry = gateway.settled(answer.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "estimated")
    assert 0 < entry["tokens"]["completion"] <= 50
    assert entry["cost_usd"] > 0


def test_usage_that_nobody_tells_is_estimated(gateway: Gateway, key: dict[str, Any]) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, user="silent"
    )
    entry = gateway.settled(answer.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("success", "estimated")
    assert 0 < entry["tokens"]["completion"] <= 50


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "model", "cached"),
    [("/v1/responses", "gpt-4o", 4), ("/v1/messages", "claude-sonnet-4-5", 4)],
)
def test_each_api_is_metered_by_its_own_words(
    gateway: Gateway, path: str, model: str, stream: bool, cached: int
) -> None:
    key = gateway.stack.create_key(budget_limits={"total": 100.0})
    status, headers, _ = raw(
        gateway,
        path=path,
        body=json.dumps({"model": model, "stream": stream, "max_tokens": 50}),
        headers={"authorization": f"Bearer {key['api_key']}"},
    )
    assert status == 200
    entry = gateway.settled(headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"] == {"prompt": 11, "completion": 7, "total": 18}
    if model == "gpt-4o":
        cost = ((11 - cached) * 2.5 + cached * 1.25 + 7 * 10) / 1e6
    else:  # Two tokens went into the provider's cache, which costs more.
        cost = (5 * 3 + 2 * 3.75 + cached * 0.3 + 7 * 15) / 1e6
    assert entry["cost_usd"] == pytest.approx(cost)


def test_a_stream_that_breaks_off_after_its_input_is_charged_by_estimate(
    gateway: Gateway,
) -> None:
    key = gateway.stack.create_key(budget_limits={"total": 100.0})
    _, headers, _ = raw(
        gateway,
        path="/v1/messages",
        body=json.dumps({"model": "claude-sonnet-4-5", "stream": True, "user": "broken"}),
        headers={"authorization": f"Bearer {key['api_key']}"},
    )
    entry = gateway.settled(headers["x-request-id"])
    assert entry["usage_source"] == "estimated"
    assert entry["tokens"]["prompt"] == 11
    assert entry["tokens"]["completion"] > 10


def test_a_response_too_large_for_envoy_is_charged_what_was_held(
    gateway: Gateway,
) -> None:
    key = gateway.stack.create_key(budget_limits={"total": 100.0})
    status, headers, answer = raw(
        gateway,
        body=json.dumps({**ASK, "user": "large"}),
        headers={"authorization": f"Bearer {key['api_key']}"},
    )
    assert (status, answer["error"]["code"]) == (500, "unavailable")
    assert "x-request-id" not in headers, "Envoy's own answer"
    entry = eventually(
        lambda: next(
            (
                e
                for e in gateway.stack.audit(200)
                if e["api_key_id"] == key["id"] and e["status"] == "cancelled"
            ),
            None,
        ),
        "the entry is settled",
    )
    assert entry["usage_source"] == "none"
    assert entry["cost_usd"] >= 50 * 10 / 1e6


def test_what_would_change_the_bill_behind_the_policy_never_arrives(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    headers = {"authorization": f"Bearer {key['api_key']}"}
    spoofed = {"openai-organization": "o", "openai-project": "p", "x-http-method-override": "GET"}
    assert raw(gateway, body=json.dumps(ASK), headers={**headers, **spoofed})[0] == 200
    assert not spoofed.keys() & gateway.provider.seen[-1][0].keys()
    for extra in ({"service_tier": "priority"}, {"models": ["gpt-4", "gpt-4o"]}):
        status, _, answer = raw(gateway, body=json.dumps({**ASK, **extra}), headers=headers)
        assert (status, answer["error"]["param"]) == (400, next(iter(extra)))


def test_a_hostile_body_costs_others_nothing(gateway: Gateway, key: dict[str, Any]) -> None:
    hostile = '{"model":"m",' + '"":0,' * 1_600_000 + '"a":1}'
    status, _, answer = raw(gateway, body=hostile, headers={"authorization": "Bearer nonsense"})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert "members" in answer["error"]["message"]


def test_a_failing_provider_costs_nothing(gateway: Gateway, key: dict[str, Any]) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client(key["api_key"]).chat.completions.create(**ASK, user="error")
    entry = gateway.settled(caught.value.response.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"], entry["cost_usd"]) == ("error", "none", 0)


def test_models_are_listed_without_a_body(gateway: Gateway, key: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {key['api_key']}"}
    status, found, _ = raw(gateway, "GET", "/v1/models", headers=headers)
    assert status == 200
    entry = gateway.settled(found["x-request-id"])
    assert (entry["action"], entry["tokens"]["total"], entry["cost_usd"]) == ("models.list", 0, 0)


def test_denials_are_what_the_openai_client_understands(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    client = gateway.client(key["api_key"])
    with pytest.raises(openai.PermissionDeniedError) as denied:
        client.chat.completions.create(**{**ASK, "model": "gpt-4"})
    assert (denied.value.code, denied.value.type) == ("model_not_allowed", "permission_error")
    assert "permissions.models" in denied.value.message
    assert denied.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.AuthenticationError) as unknown:
        gateway.client("vsk_prod_nobody").chat.completions.create(**ASK)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(**{**ASK, "max_tokens": -5})
    assert (bad.value.code, bad.value.param) == ("invalid_request", "max_tokens")
    eager = gateway.stack.create_key(rate_limits={"per_hour": 1})
    gateway.client(eager["api_key"]).chat.completions.create(**ASK)
    with pytest.raises(openai.RateLimitError) as limited:
        gateway.client(eager["api_key"]).chat.completions.create(**ASK)
    assert limited.value.code == "rate_limit_exceeded"
    assert 3590 <= int(limited.value.response.headers["retry-after"]) <= 3600
    assert "x-should-retry" not in limited.value.response.headers


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", {}, 400, "invalid_request"),
        (b"not json", {}, 400, "invalid_request"),
        (b"[]", {}, 400, "invalid_request"),
        (b"{}", {}, 400, "invalid_request"),
        (b'{"model":"gpt-4o","model":"gpt-4"}', {}, 400, "invalid_request"),
        (b'{"model":"gpt-4o","Model":"gpt-4"}', {}, 400, "invalid_request"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400, "invalid_request"),
        (
            gzip.compress(json.dumps(ASK).encode()),
            {"content-encoding": "gzip"},
            400,
            "invalid_request",
        ),
        (b"\xff\xfe\x00", {}, 400, "invalid_request"),
        (b" " * 8_500_000, {}, 413, "body_too_large"),
    ],
    ids=["empty", "text", "list", "no model", "twice", "case", "nested", "gzip", "binary", "large"],
)
def test_odd_bodies_get_clear_answers(
    gateway: Gateway,
    key: dict[str, Any],
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    before = len(gateway.provider.seen)
    got, _, answer = raw(
        gateway, body=body, headers={"authorization": f"Bearer {key['api_key']}", **headers}
    )
    assert (got, answer["error"]["code"]) == (status, code)
    assert answer["error"]["message"]
    assert len(gateway.provider.seen) == before


def test_a_body_of_almost_eight_megabytes_passes(gateway: Gateway, key: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": "x" * 8_000_000}]
    body = json.dumps({**ASK, "messages": messages})
    status, _, answer = raw(
        gateway, body=body, headers={"authorization": f"Bearer {key['api_key']}"}
    )
    assert status == 200, answer


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat%2Fcompletions",
        "/v1/chat/completion%73%00",
        "/v1/chat/completions/",
        "/v1/Chat/completions",
        "/v1/chat/completions;a=b",
        "/v1/completions",
        "/v1/files",
        "/admin",
        "/",
        "/v1/chat/completions%20",
        "/v1/api-keysx",
    ],
)
def test_odd_paths_never_reach_the_provider(
    gateway: Gateway, key: dict[str, Any], path: str
) -> None:
    before = len(gateway.provider.seen)
    status, _, answer = raw(
        gateway,
        path=path,
        body=json.dumps(ASK),
        headers={"authorization": f"Bearer {key['api_key']}"},
    )
    assert (status, answer["error"]["code"]) == (403, "route_not_allowed")
    assert len(gateway.provider.seen) == before


@pytest.mark.parametrize(
    "path", ["//v1//chat/completions", "/v1/x/../chat/./completions", "/v1\\chat\\completions"]
)
def test_a_path_that_envoy_normalizes_is_decided_and_sent_in_its_one_spelling(
    gateway: Gateway, key: dict[str, Any], path: str
) -> None:
    headers = {"authorization": f"Bearer {key['api_key']}"}
    assert raw(gateway, path=path, body=json.dumps(ASK), headers=headers)[0] == 200
    assert gateway.provider.seen[-1][0][":path"] == "/v1/chat/completions"
    denied = json.dumps({**ASK, "model": "gpt-4"})
    assert raw(gateway, path=path, body=denied, headers=headers)[0] == 403


def test_a_key_in_the_url_is_refused(gateway: Gateway, key: dict[str, Any]) -> None:
    status, _, answer = raw(
        gateway, path=f"/v1/chat/completions?api_key={key['api_key']}", body=json.dumps(ASK)
    )
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert key["api_key"] not in gateway.stack.log()


def test_nothing_is_lost_or_let_through_while_the_pdp_is_away(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    client = gateway.client(key["api_key"])
    stream = client.chat.completions.with_raw_response.create(**ASK, stream=True, user="endless")
    running = stream.parse()
    next(iter(running))
    gateway.stack.stop()
    before = len(gateway.provider.seen)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ASK)
    assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
    assert caught.value.response.headers["retry-after"] == "1"
    assert len(gateway.provider.seen) == before
    running.close()  # Its entry waits in Envoy for the PDP to come back.
    gateway.stack.start()
    entry = gateway.settled(stream.headers["x-request-id"])
    assert entry["status"] == "cancelled"
