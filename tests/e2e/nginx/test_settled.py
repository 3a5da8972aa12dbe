"""From the client through NGINX into the ledger: lines over UDP settle what was held."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.nginx.conftest import NginxGateway, raw
from tests.e2e.nginx.test_usage import ASK


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxGateway]:
    """A gateway that reports to its PDP, over UDP alone."""
    made = NginxGateway(tmp_path_factory.mktemp("nginx"), reports=True)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def key(own: NginxGateway) -> dict[str, Any]:
    return own.stack.create_key(name="App", budget_limits={"total": 100.0})


def test_a_completion_costs_what_the_provider_told(own: NginxGateway, key: dict[str, Any]) -> None:
    answer = own.client(key["api_key"]).chat.completions.with_raw_response.create(**ASK)
    entry = own.settled(answer.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"] == {"prompt": 11, "completion": 7, "total": 18}
    assert entry["cost_usd"] == pytest.approx((7 * 2.5 + 4 * 1.25 + 7 * 10) / 1e6)


def test_a_stream_that_did_not_ask_costs_what_the_provider_told(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    answer = own.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, user="drip"
    )
    assert all(chunk.choices for chunk in answer.parse())
    entry = own.settled(answer.headers["x-request-id"])
    assert entry["action"] == "chat.completions.stream"
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"]["total"] == 18


def test_messages_of_anthropic_cost_their_cached_input_too(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    ask: dict[str, Any] = {**ASK, "model": "claude-haiku-4-5"}
    with own.anthropic_client(key["api_key"]).messages.stream(**ask) as stream:
        assert stream.get_final_text() == "hi"
        request_id = stream.response.headers["x-request-id"]
    entry = own.settled(request_id)
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    assert entry["tokens"] == {"prompt": 11, "completion": 7, "total": 18}


def test_a_client_that_leaves_is_charged_for_what_came(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    answer = own.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, user="endless"
    )
    stream = answer.parse()
    for _ in range(10):
        next(stream)
    stream.close()
    entry = own.settled(answer.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "estimated")
    assert 10 <= entry["tokens"]["completion"] <= 50


def test_a_provider_that_fails_costs_nothing(own: NginxGateway, key: dict[str, Any]) -> None:
    status, headers, _ = raw(own, key, json.dumps({**ASK, "user": "error"}))
    assert status == 500
    entry = own.settled(headers["x-request-id"])
    assert (entry["status"], entry["usage_source"], entry["cost_usd"]) == ("error", "none", 0)
