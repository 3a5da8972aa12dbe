"""What clients of a real NGINX get, and what reaches the provider."""

import json
import subprocess
from typing import Any

import openai
import pytest

from tests.e2e.nginx.conftest import NginxGateway, raw
from tests.provider import MEDDLING

ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 50,
}


def error_of(body: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def test_denials_are_what_the_openai_client_understands(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    picky = gateway.stack.create_key(permissions={"models": ["gpt-4o-mini"]})
    with pytest.raises(openai.PermissionDeniedError) as denied:
        gateway.client(picky["api_key"]).chat.completions.create(**ASK)
    assert (denied.value.code, denied.value.type) == ("model_not_allowed", "permission_error")
    assert denied.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.AuthenticationError) as unknown:
        gateway.client("vsk_prod_nobody").chat.completions.create(**ASK)
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as bad:
        gateway.client(key["api_key"]).chat.completions.create(**{**ASK, "max_tokens": -5})
    assert (bad.value.code, bad.value.param) == ("invalid_request", "max_tokens")
    eager = gateway.stack.create_key(rate_limits={"per_hour": 1})
    allowed = gateway.client(eager["api_key"]).chat.completions.with_raw_response.create(**ASK)
    assert allowed.headers["x-ratelimit-limit-requests"] == "1"
    assert allowed.headers["x-ratelimit-remaining-requests"] == "0"
    assert allowed.headers["x-ratelimit-reset-requests"]
    with pytest.raises(openai.RateLimitError) as limited:
        gateway.client(eager["api_key"]).chat.completions.create(**ASK)
    headers = limited.value.response.headers
    assert limited.value.code == "rate_limit_exceeded"
    assert 3590 <= int(headers["retry-after"]) <= 3600
    assert headers["x-request-id"]
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-should-retry" not in headers


@pytest.mark.parametrize("http", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("stream", [False, True])
def test_both_versions_of_http_pass_and_are_refused_alike(
    gateway: NginxGateway, key: dict[str, Any], http: str, stream: bool
) -> None:
    port = gateway.nginx.port if http == "--http1.1" else gateway.nginx.port2

    def curl(body: dict[str, Any]) -> tuple[str, str]:
        done = subprocess.run(
            [
                *("curl", "-sS", "-i", http, "-d", "@-"),
                *("-H", "content-type: application/json"),
                *("-H", f"authorization: Bearer {key['api_key']}"),
                f"http://127.0.0.1:{port}/v1/chat/completions",
            ],
            input=json.dumps(body),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
        return head.lower(), text

    head, text = curl({**ASK, "stream": stream})
    assert head.splitlines()[0].split()[1] == "200"
    assert head.startswith("http/1.1" if http == "--http1.1" else "http/2")
    if stream:
        assert text.count("data: ") == 6  # Five chunks and the end, not the usage.
        assert text.endswith("data: [DONE]\n\n")
    else:
        assert json.loads(text)["usage"]["total_tokens"] == 18
    (request_id,) = [
        line.partition(": ")[2] for line in head.splitlines() if line.startswith("x-request-id:")
    ]
    assert gateway.line(request_id)["told"]["completion_tokens"] == 7
    before = len(gateway.provider.arrivals)
    head, text = curl({**ASK, "max_tokens": -1})
    assert head.splitlines()[0].split()[1] == "400"
    assert error_of(text.encode())["param"] == "max_tokens"
    assert len(gateway.provider.arrivals) == before


SPOOFED = {
    "X-PDP-Method": "GET",
    "X-PDP-URI": "/v1/models",
    "X-PDP-Client-IP": "192.0.2.9",
    "X-PDP-Request-Id": "spoofed",
    "X-PDP-Provider": "nobody",
    "X-PDP-Caller-Token": "spoofed",
    "X-PDP-Reference": '["res_x","key_x","r",1,1,false]',
    "X-PDP-Model": "gpt-3.5-turbo",
    "X-PDP-Stream": "1",
    "X-PDP-Status": "200",
    "X-PDP-Body-File": "spoofed",
    "X-Accel-Redirect": "@llm",
    "X-Accel-Buffering": "yes",
    "X_PDP_URI": "/v1/models",
    "X-Request-Id": "spoofed",
    "X-Original-URI": "/v1/models",
    "X-HTTP-Method-Override": "GET",
    "X-Forwarded-For": "192.0.2.9",
    "X-Real-IP": "192.0.2.9",
    "Forwarded": "for=192.0.2.9",
    "OpenAI-Organization": "theirs",
}


def test_what_a_client_says_in_nginxs_words_means_nothing(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    status, headers, _ = raw(gateway, key, json.dumps(ASK), headers=SPOOFED)
    assert status == 200
    line = gateway.line(headers["x-request-id"])
    assert "spoofed" not in json.dumps([line, headers])
    assert '"res_x"' not in line["ref"]
    seen = gateway.provider.seen[-1][0]
    assert not {name.lower() for name in SPOOFED} & (seen.keys() - {"x-request-id"})
    assert seen["x-request-id"] == headers["x-request-id"]
    entry = gateway.stack.entry(headers["x-request-id"])
    assert (entry["ip_address"], entry["model"]) == ("127.0.0.1", "gpt-4o")
    assert (entry["action"], entry["provider"]) == ("chat.completions.create", "openai")
    status, headers, body = raw(gateway, None, json.dumps(ASK), headers=SPOOFED)
    assert (status, error_of(body)["code"]) == (401, "missing_key")
    assert "spoofed" not in json.dumps(headers)


def test_what_a_provider_says_in_nginxs_words_means_nothing(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    before = len(gateway.provider.arrivals)
    status, headers, body = raw(gateway, key, json.dumps({**ASK, "user": "meddle"}))
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "hi")
    assert len(gateway.provider.arrivals) == before + 1
    assert "another" not in gateway.line(headers["x-request-id"])["ref"]
    assert not set(MEDDLING.values()) & set(headers.values())
    assert not {name for name in headers if name.startswith(("x-accel", "x-pdp"))}


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_of_four_megabytes_arrives_whole(
    gateway: NginxGateway, key: dict[str, Any], stream: bool
) -> None:
    ask = {**ASK, "messages": [{"role": "user", "content": "ä" * 2_000_000}], "stream": stream}
    status, headers, body = raw(gateway, key, json.dumps(ask, ensure_ascii=False))
    assert status == 200, body[:300]
    seen = gateway.provider.seen[-1][1]
    assert seen.pop("stream_options", None) == ({"include_usage": True} if stream else None)
    assert seen == ask
    assert gateway.line(headers["x-request-id"])["told"]["prompt_tokens"] == 11


def test_what_nginx_itself_refuses_looks_like_any_refusal(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    before = len(gateway.provider.arrivals)
    for status, code, asked in (
        (413, "body_too_large", {"body": b" " * 8_500_000}),
        (403, "route_not_allowed", {"method": "TRACE"}),
        (403, "route_not_allowed", {"path": "/_pdp/large"}),
        (403, "route_not_allowed", {"path": "/decide"}),
        (400, "invalid_request", {"headers": {"x": "y" * 40_000}}),
    ):
        got, headers, body = raw(gateway, key, **asked)
        assert (got, error_of(body)["code"]) == (status, code)
        assert headers["content-type"] == "application/json"
        assert headers["x-should-retry"] == "false"
    assert len(gateway.provider.arrivals) == before


def test_models_are_listed_without_a_body(gateway: NginxGateway, key: dict[str, Any]) -> None:
    status, headers, body = raw(gateway, key, method="GET", path="/v1/models")
    assert (status, json.loads(body)["data"][0]["id"]) == (200, "gpt-4o")
    assert gateway.provider.arrivals[-1].method == "GET"
    assert gateway.line(headers["x-request-id"])["told"] == {}


def test_what_is_refused_is_not_reported(gateway: NginxGateway, key: dict[str, Any]) -> None:
    _, headers, _ = raw(gateway, key, b"{")
    refused = headers["x-request-id"]
    _, headers, _ = raw(gateway, key, json.dumps(ASK))
    gateway.line(headers["x-request-id"])  # Lines come in order, from one worker or another.
    assert refused not in gateway.lines()
