"""NGINX and Envoy before one PDP: the same requests, the same decisions, rows and spend."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.e2e.nginx.settling import Settling
from tests.e2e.rest.admin import Admin
from tests.envoy import Envoy
from tests.stack import eventually

COUNT = 500
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
EMBEDDINGS, MODELS = "/v1/embeddings", "/v1/models"

KEYS: dict[str, dict[str, Any]] = {
    "open": {"budget_limits": {"total": 1000.0}},
    "listed": {"permissions": {"models": ["gpt-4o"]}, "budget_limits": {"monthly": 1000.0}},
    "poor": {"budget_limits": {"total": 0.00001}},
    "short": {"token_limits": {"per_request_max": 60}},
    "few": {"max_requests": 20},
    "reader": {"access": "read_only"},
    "barred": {
        "policy": {
            "version": "2024-01-01",
            "statements": [
                {"effect": "Allow", "actions": ["chat:*"], "resources": ["model:*"]},
                {"effect": "Deny", "actions": ["chat:stream"], "resources": ["model:gpt-4o"]},
            ],
        }
    },
    "elsewhere": {"ip_allowlist": {"enabled": True, "addresses": ["203.0.113.0/24"]}},
}
"""None of their limits depends on when a report comes, or on the time."""

USERS = (*("",) * 4, "error", "silent", "silent", "gzip", "breaks", "huge")
"""What the provider does: tells its usage, or not, or so that nobody can read it, or breaks off."""

SAME = (
    *("action", "model", "provider", "status", "reason", "tokens", "cost_usd", "usage_source"),
    *("ip_address", "user_agent", "metadata", "api_key_name", "team_id", "user_id"),
)


class Both(Settling):
    """One PDP, one provider, and both proxies before them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "file")
        self.envoy = Envoy(folder, self.stack.grpc_port, self.provider.port)
        self.keys: dict[str, dict[str, dict[str, Any]]] = {}

    def start(self) -> None:
        super().start()
        self.envoy.start()
        admin = Admin(self.stack, self.stack.root["api_key"])
        for proxy in ("envoy", "nginx"):
            self.keys[proxy] = {
                name: admin.make(name=name, **document) for name, document in KEYS.items()
            }

    def stop(self) -> None:
        self.envoy.stop()
        super().stop()

    def port(self, proxy: str) -> int:
        return self.envoy.ports.envoy if proxy == "envoy" else self.nginx.port


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("both"))
    made.start()
    yield made
    made.stop()


def mixed(count: int) -> list[dict[str, Any]]:
    """Return requests of every kind: who asks, method, path, body, headers."""
    rng = Random(500)
    return [_request(rng) for _ in range(count)]


def _request(rng: Random) -> dict[str, Any]:
    path = rng.choice((CHAT,) * 5 + (MESSAGES, RESPONSES, MODELS))
    if rng.random() < 0.02:
        path = EMBEDDINGS  # Of megabytes.
    model = {MESSAGES: "claude-sonnet-4-5", EMBEDDINGS: "text-embedding-3-small"}.get(path)
    body: dict[str, Any] = {"model": model or rng.choice(("gpt-4o", "gpt-4o", "gpt-4o-mini"))}
    body["max_tokens"] = rng.choice((10, 50, 500))
    if rng.random() < 0.4:
        body["stream"] = True
    if path == CHAT:
        if body.get("stream"):
            # Else Envoy gives the client one event more.
            body["stream_options"] = {"include_usage": True}
        body["user"] = rng.choice(USERS)
        body["messages"] = [{"role": "user", "content": "x" * rng.choice((5, 50, 1000))}]
    text = json.dumps(body)
    odd = rng.random()
    if odd < 0.03:
        text = rng.choice(("", "no json", "[]", text[:-1], '{"model":"gpt-4o","model":"gpt-4"}'))
    elif odd < 0.06:
        path = rng.choice(("/v1/completions", "/v1/chat/completions/", "/v1/files", "/"))
    return {
        "key": rng.choice(("open", "open", *KEYS, "nobody", "")),
        "method": "GET" if path == MODELS else rng.choice(("POST",) * 30 + ("GET", "PUT")),
        "path": path,
        "body": "" if path == MODELS else text,
    }


def ask(both: Both, proxy: str, request: dict[str, Any]) -> tuple[int, str, str]:
    """Send a request; return (status, error code or "", request id)."""
    headers = {"content-type": "application/json", "user-agent": "mixed/1"}
    key = request["key"]
    if key:
        secret = "vsk_prod_nobody" if key == "nobody" else both.keys[proxy][key]["api_key"]
        headers["authorization"] = f"Bearer {secret}"
    connection = http.client.HTTPConnection("127.0.0.1", both.port(proxy), timeout=30)
    try:
        connection.request(request["method"], request["path"], request["body"].encode(), headers)
        answer = connection.getresponse()
        try:
            data = answer.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            return answer.status, "broken off", answer.headers.get("x-request-id", "")
        code = ""
        if answer.status >= 400:
            code = json.loads(data)["error"].get("code", "the provider's")
        return answer.status, code, answer.headers.get("x-request-id", "")
    finally:
        connection.close()


def rows(both: Both, proxy: str, ids: list[str]) -> list[dict[str, Any] | None]:
    """Return what stays the same of the audit rows of requests, once none is pending."""
    key_ids = {key["id"] for key in both.keys[proxy].values()}

    def find() -> list[dict[str, Any] | None] | None:
        found = {
            entry["request_id"]: entry
            for entry in both.stack.audit(1000)
            if entry["api_key_id"] in key_ids and "." in entry["action"]
        }
        if any(entry["status"] == "pending" for entry in found.values()):
            return None
        return [
            {name: found[each].get(name) for name in SAME} if each in found else None
            for each in ids
        ]

    made: list[dict[str, Any] | None] = eventually(find, f"all of {proxy} is settled", 60)
    return made


def spend(both: Both, proxy: str) -> dict[str, Any]:
    own = {key["id"]: name for name, key in both.keys[proxy].items()}
    return {
        own[row["api_key_id"]]: {
            name: value for name, value in row.items() if name not in ("api_key_id",)
        }
        for row in both.stack.json("usage")["usage"]
        if row["api_key_id"] in own
    }


@pytest.mark.timeout(300)
def test_the_same_requests_are_decided_written_down_and_charged_alike(both: Both) -> None:
    requests = mixed(COUNT)
    answers: dict[str, list[tuple[int, str, str]]] = {"envoy": [], "nginx": []}
    for request in requests:
        for proxy, told in answers.items():
            told.append(ask(both, proxy, request))
    for request, envoy, nginx in zip(requests, answers["envoy"], answers["nginx"], strict=True):
        assert envoy[:2] == nginx[:2], request
    assert len({answer[1] for answer in answers["nginx"]}) >= 10, "of every kind"
    of_envoy, of_nginx = (
        rows(both, proxy, [answer[2] for answer in told]) for proxy, told in answers.items()
    )
    for request, one, other in zip(requests, of_envoy, of_nginx, strict=True):
        assert one == other, request
    assert sum(row is not None for row in of_nginx) >= COUNT // 2
    assert spend(both, "envoy") == spend(both, "nginx")
    assert spend(both, "nginx")["open"]["spent_usd"] > 0
    kinds = {(row["status"], row["usage_source"]) for row in of_nginx if row}
    assert kinds >= {("success", "estimated"), ("error", "estimated"), ("error", "none")}
