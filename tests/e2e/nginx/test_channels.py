"""What the ledger says of requests through a real NGINX, by either way of its usage lines."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.nginx.conftest import raw
from tests.e2e.nginx.settling import Settling
from tests.stack import eventually

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MESSAGES, EMBEDDINGS = "/v1/messages", "/v1/embeddings"
GPT, CLAUDE = "gpt-4o", "claude-sonnet-4-5"
TOLD = ("success", "provider", 11, 7)

OF_GPT = (7 * 2.5 + 4 * 1.25 + 7 * 10) / 1e6
OF_CLAUDE = (5 * 3 + 4 * 0.3 + 2 * 3.75 + 7 * 15) / 1e6

CASES: list[tuple[str, str, dict[str, Any], tuple[str, str, int, int], float]] = [
    (CHAT, GPT, {}, TOLD, OF_GPT),
    (CHAT, GPT, {"stream": True}, TOLD, OF_GPT),
    (CHAT, GPT, {"stream": True, "stream_options": {"include_usage": True}}, TOLD, OF_GPT),
    (RESPONSES, GPT, {}, TOLD, OF_GPT),
    (RESPONSES, GPT, {"stream": True}, TOLD, OF_GPT),
    (MESSAGES, CLAUDE, {}, TOLD, OF_CLAUDE),
    (MESSAGES, CLAUDE, {"stream": True}, TOLD, OF_CLAUDE),
    (EMBEDDINGS, "text-embedding-3-small", {}, ("success", "provider", 11, 0), 11 * 0.02 / 1e6),
    (CHAT, GPT, {"user": "error"}, ("error", "none", 0, 0), 0),
]
"""Path, model, what else is in the body; status, source, tokens, USD."""


@pytest.fixture(scope="module", params=["udp", "file"])
def settling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settling]:
    made = Settling(tmp_path_factory.mktemp(request.param), request.param)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def key(settling: Settling) -> dict[str, Any]:
    return settling.stack.create_key(name="App", budget_limits={"total": 1000.0})


def settled(settling: Settling, ids: list[str]) -> list[dict[str, Any]]:
    """Return the audit entries of requests, in their order, once none is pending."""

    def find() -> list[dict[str, Any]] | None:
        found = {entry["request_id"]: entry for entry in settling.stack.audit(1000)}
        entries = [found[each] for each in ids if each in found]
        done = len(entries) == len(ids) and all(each["status"] != "pending" for each in entries)
        return entries if done else None

    entries: list[dict[str, Any]] = eventually(find, "all are settled")
    return entries


def test_every_api_is_settled_by_what_it_tells(settling: Settling, key: dict[str, Any]) -> None:
    ids = []
    for path, model, more, _, _ in CASES:
        _, headers, _ = raw(
            settling, key, json.dumps({"model": model, "max_tokens": 50, **more}), path=path
        )
        ids.append(headers["x-request-id"])
    for entry, (path, model, more, told, cost) in zip(settled(settling, ids), CASES, strict=True):
        tokens = entry["tokens"]
        found = (entry["status"], entry["usage_source"], tokens["prompt"], tokens["completion"])
        assert found == told, (path, more)
        assert entry["cost_usd"] == pytest.approx(cost), (path, more)
        assert entry["model"] == model
        assert entry["latency_ms"] >= 0


def test_a_client_that_leaves_is_charged_for_what_had_come(
    settling: Settling, key: dict[str, Any]
) -> None:
    answer = settling.client(key["api_key"]).chat.completions.with_raw_response.create(
        model=GPT,
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=50,
        stream=True,
        user="endless",
    )
    stream = answer.parse()
    for _ in range(10):
        next(stream)
    stream.close()
    (entry,) = settled(settling, [answer.headers["x-request-id"]])
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "estimated")
    assert 10 <= entry["tokens"]["completion"] <= 50
    assert entry["tokens"]["prompt"] > 0


def test_usage_that_nobody_tells_is_estimated(settling: Settling, key: dict[str, Any]) -> None:
    body = {"model": GPT, "max_tokens": 50, "user": "silent"}
    _, headers, answer = raw(settling, key, json.dumps(body))
    (entry,) = settled(settling, [headers["x-request-id"]])
    assert (entry["status"], entry["usage_source"]) == ("success", "estimated")
    assert entry["tokens"]["completion"] == min(50, -(-len(answer) // 4))


def test_each_line_was_taken_once_and_by_its_channel(settling: Settling) -> None:
    """After all tests above, of one channel: nothing came by the other, nothing was no line."""
    metrics = settling.stack.get("/metrics")[1]
    lines = [line for line in metrics.splitlines() if line.startswith("pdp_nginx_usage_lines_t")]
    taken = {line for line in lines if not line.endswith(" 0.0")}
    name = f'pdp_nginx_usage_lines_total{{channel="{settling.channel}",result="taken"}}'
    assert [line.rpartition(" ")[0] for line in taken] == [name], lines
    assert 'pdp_reports_total{result="accepted"}' in metrics
    assert 'pdp_reports_total{result="duplicate"}' not in metrics
    assert 'pdp_reports_total{result="error"}' not in metrics
