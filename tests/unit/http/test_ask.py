"""From what a proxy shows to what the engine is asked, and back."""

import json
from typing import Any

import pytest

from adapters.http.ask import Ask, HttpOptions, HttpRequest, Refusal, ask_of
from adapters.http.denial import denial_of
from adapters.http.reference import parse_reference, reference_of
from adapters.http.routes import ROUTES
from pdp.actions import ACTIONS
from pdp.credentials import BadCredentials, api_key_of
from pdp.forwarded import client_address
from pdp.model import Decision

OPTIONS = HttpOptions("envoy")


def http(**changes: Any) -> HttpRequest:
    fields: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": {"authorization": "Bearer k", "x-request-id": "r1", "user-agent": "ua"},
        "body": b'{"model":"gpt-4o","max_tokens":7,"n":2}',
        "peer": "192.0.2.1",
    }
    return HttpRequest(**{**fields, **changes})


def asked(**changes: Any) -> Ask:
    ask = ask_of(http(**changes), OPTIONS)
    assert isinstance(ask, Ask), ask
    return ask


def refused(**changes: Any) -> Refusal:
    refusal = ask_of(http(**changes), OPTIONS)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def test_a_chat_request_is_translated() -> None:
    request = asked(provider="azure").request
    assert (request.request_id, request.api_key, request.adapter) == ("r1", "k", "envoy")
    assert (request.action, request.model, request.provider) == (
        "chat:completions",
        "gpt-4o",
        "azure",
    )
    assert (request.max_output_tokens, request.choices) == (7, 2)
    assert request.prompt_tokens == 10
    assert (request.client_ip, request.user_agent) == ("192.0.2.1", "ua")
    assert request.metadata is None


def test_strict_estimates_count_every_byte() -> None:
    ask = ask_of(http(), HttpOptions("envoy", strict_estimate=True))
    assert isinstance(ask, Ask)
    assert ask.request.prompt_tokens == len(http().body)


@pytest.mark.parametrize(
    ("path", "body", "action", "force"),
    [
        ("/v1/chat/completions", {"stream": True}, "chat:stream", True),
        (
            "/v1/chat/completions",
            {"stream": True, "stream_options": {"include_usage": True}},
            "chat:stream",
            False,
        ),
        ("/v1/chat/completions?x=1", {}, "chat:completions", False),
        ("/v1/messages", {"stream": True}, "chat:stream", False),
        ("/v1/responses", {}, "responses:create", False),
        ("/v1/responses", {"stream": True}, "responses:stream", False),
        ("/v1/embeddings", {"stream": True}, "embeddings:create", False),
        ("/v1/images/generations", {}, "images:generate", False),
        ("/v1/audio/speech", {}, "audio:speech", False),
        ("/v1/audio/speech", {"speed": 1.25, "stream_format": "sse"}, "audio:speech", False),
        ("/v1/moderations", {}, "moderations:create", False),
    ],
)
def test_the_path_and_the_body_make_the_action(
    path: str, body: dict[str, Any], action: str, force: bool
) -> None:
    ask = asked(path=path, body=json.dumps({"model": "m", **body}).encode())
    assert (ask.request.action, ask.force_usage) == (action, force)


def test_a_long_text_that_is_spoken_holds_what_a_slow_reader_takes() -> None:
    def most(text: str) -> int:
        body = json.dumps({"model": "gpt-4o-mini-tts", "input": text}).encode()
        return asked(path="/v1/audio/speech", body=body).request.most_output(4_096)

    assert (most("hi"), most("é" * 4_096)) == (4_096, 4 * 4_096)


def test_listing_models_needs_no_body() -> None:
    request = asked(method="GET", path="/v1/models", body=b"").request
    assert (request.action, request.model, request.prompt_tokens) == ("models:list", "", 0)


def test_every_route_leads_to_an_action() -> None:
    for route in ROUTES.values():
        assert route.action in ACTIONS
        assert route.streaming in {"", *ACTIONS}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions/"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/v1/./chat/completions"),
        ("POST", "/v1/x/../chat/completions"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/v1/chat/completion%73"),
        ("POST", "/v1/chat/completions;v=1"),
        ("POST", "/v1/Chat/Completions"),
        ("POST", "/v1/chat/completions#x"),
        ("POST", "/v1/chat\\completions"),
        ("POST", "/v1/completions"),
        ("POST", "/v2/chat/completions"),
        ("POST", ""),
        ("POST", "*"),
        ("post", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions"),
        ("CONNECT", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/gpt-4o"),
        ("POST", "http://evil/v1/chat/completions"),
    ],
)
def test_anything_but_the_exact_routes_is_refused(method: str, path: str) -> None:
    assert refused(method=method, path=path).reason == "route_not_allowed"


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer k"}, "k"),
        ({"authorization": "bearer  k "}, "k"),
        ({"x-api-key": "k"}, "k"),
        ({"api-key": " k"}, "k"),
        ({"authorization": "Bearer k", "x-api-key": "k", "api-key": "k"}, "k"),
        ({"authorization": "Basic dTpw", "x-api-key": "k"}, "k"),
        ({"authorization": "Basic dTpw"}, ""),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "", "x-api-key": ""}, ""),
        ({}, ""),
    ],
)
def test_a_key_is_found_where_clients_put_it(headers: dict[str, str], key: str) -> None:
    assert api_key_of(headers, "") == key


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer a", "x-api-key": "b"},
        {"api-key": "a", "x-api-key": "b"},
    ],
)
def test_two_keys_that_differ_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadCredentials, match="two different"):
        api_key_of(headers, "")


@pytest.mark.parametrize(
    "query",
    [
        "x=1;key=a",
        "key=a",
        "x=1&api_key=a",
        "API-KEY=a",
        "access_token=a",
        "api%5Fkey=a",
        "a=1&" * 200,
        "x=vsk_prod_a",
        "vsk_prod_a",
        "a=1&vsk%5Fprod_a",
        "x=Bearer+vsk_prod_a",
    ],
)
def test_a_key_in_the_url_is_refused(query: str) -> None:
    refusal = refused(path=f"/v1/chat/completions?{query}")
    assert refusal.reason == "invalid_api_key"
    assert "=a" not in refusal.message
    assert "vsk_" not in refusal.message


def test_no_key_is_missing() -> None:
    assert refused(headers={}).reason == "missing_key"


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "deflate, gzip"])
def test_a_compressed_body_is_refused_clearly(encoding: str) -> None:
    headers = {"authorization": "Bearer k", "content-encoding": encoding}
    refusal = refused(headers=headers)
    assert refusal.reason == "invalid_request"
    assert "compressed" in refusal.message


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset = utf-7",
        "application/json; charset*=utf-7",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; a=b; charset=utf-16",
    ],
)
def test_a_body_of_another_type_is_refused(kind: str) -> None:
    refusal = refused(headers={"authorization": "Bearer k", "content-type": kind})
    assert refusal.reason == "invalid_request"
    assert "not JSON" in refusal.message


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=UTF-8",
        'Application/JSON;charset="utf-8"',
        "application/json; a=b; charset=utf-8",
        "application/json; odata=verbose",
    ],
)
def test_json_in_utf_8_is_taken(kind: str) -> None:
    assert asked(headers={"authorization": "Bearer k", "content-type": kind})


@pytest.mark.parametrize(
    ("path", "body", "output"),
    [
        ("/v1/chat/completions", {"max_output_tokens": 1}, None),
        ("/v1/chat/completions", {"max_tokens": 2, "max_completion_tokens": 3}, 3),
        ("/v1/messages", {"max_tokens": 2, "max_completion_tokens": 3}, 2),
        ("/v1/responses", {"max_tokens": 2}, None),
        ("/v1/responses", {"max_output_tokens": 2}, 2),
        ("/v1/embeddings", {"max_tokens": 2}, 0),
        ("/v1/moderations", {}, 0),
    ],
)
def test_each_route_has_its_own_bounds_of_the_output(
    path: str, body: dict[str, Any], output: int | None
) -> None:
    data = json.dumps({"model": "m", **body}).encode()
    assert asked(path=path, body=data).request.max_output_tokens == output


def test_a_part_of_a_body_is_not_decided_on() -> None:
    refusal = refused(partial=True)
    assert (refusal.reason, "a part of the body" in refusal.message) == ("invalid_request", True)


def test_identity_is_no_compression() -> None:
    assert asked(headers={"authorization": "Bearer k", "content-encoding": "identity"})


def test_a_bad_body_names_its_field() -> None:
    refusal = refused(body=b'{"model":1}')
    assert (refusal.reason, refusal.param) == ("invalid_request", "model")
    missing = refused(body=b"{}")
    assert (missing.reason, missing.param) == ("invalid_request", "model")


@pytest.mark.parametrize(
    ("forwarded", "hops", "address"),
    [
        ("<script>", 1, ""),
        ("unknown", 1, ""),
        ("", 0, "peer"),
        ("198.51.100.7", 0, "peer"),
        ("", 1, ""),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("spoofed, 203.0.113.9", 1, "203.0.113.9"),
        ("spoofed, 203.0.113.9, 10.0.0.1", 2, "203.0.113.9"),
        ("203.0.113.9", 2, ""),
        ("203.0.113.9:5555", 1, "203.0.113.9"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("2001:db8::1", 1, "2001:db8::1"),
    ],
)
def test_only_trusted_hops_tell_the_address(forwarded: str, hops: int, address: str) -> None:
    assert client_address("peer", forwarded, hops) == address


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "allowed": True,
        "reason": "ok",
        "message": "",
        "http_status": 200,
        "decision_id": "dec_1",
        "key_id": "key_1",
        "reservation_id": "res_1",
    }
    return Decision(**{**fields, **changes})


def test_a_reference_comes_back_as_it_went() -> None:
    text = reference_of(asked().request, decision(), 4096)
    reference = parse_reference(text)
    assert reference is not None
    assert (reference.reservation_id, reference.key_id, reference.request_id) == (
        "res_1",
        "key_1",
        "r1",
    )
    assert (reference.prompt_tokens, reference.max_output, reference.streaming) == (10, 14, False)
    unbound = parse_reference(reference_of(asked(body=b'{"model":"m"}').request, decision(), 4096))
    assert unbound is not None
    assert unbound.max_output == 4096


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '["a"]', "\x00"])
def test_what_is_no_reference_is_none(text: str) -> None:
    assert parse_reference(text) is None


def test_a_denial_is_shaped_as_openai_clients_read_it() -> None:
    denied = decision(
        allowed=False,
        reason="rate_limit_exceeded",
        message="wait",
        http_status=429,
        response_headers={"retry-after": "3"},
    )
    status, headers, body = denial_of(denied, "model")
    assert status == 429
    assert headers == {"content-type": "application/json", "retry-after": "3"}
    assert json.loads(body) == {
        "error": {
            "message": "wait",
            "type": "rate_limit_error",
            "param": "model",
            "code": "rate_limit_exceeded",
        }
    }
