"""Streams through a real Envoy: held while they run, released at once when they end."""

import asyncio
import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.envoy.conftest import Gateway
from tests.stack import eventually

ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 1000,
}
_TERM = 3
"""Seconds until a hold runs out of which nobody hears, on a busy machine."""

_SLOW = {"x-test-slow": "1"}
_LAST_ROUTE = '              - name: llm\n                match: {prefix: "/"}\n'
_SLOW_ROUTE = """\
              - name: slow
                match: {prefix: "/", headers: [{name: x-test-slow, present_match: true}]}
                route: {cluster: provider, timeout: 1s, auto_host_rewrite: true}
"""


def hurried(config: str) -> str:
    """Return the configuration with a heartbeat each quarter second, and a route with a timeout."""
    for old, new in (
        ("access_log_flush_interval: 60s", "access_log_flush_interval: 0.25s"),
        (_LAST_ROUTE, _SLOW_ROUTE + _LAST_ROUTE),
    ):
        assert config.count(old) == 1, old
        config = config.replace(old, new)
    return config


@pytest.fixture(scope="module", params=["native", "grpcio"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway whose holds run out after three seconds without a heartbeat."""
    folder = tmp_path_factory.mktemp("gateway")
    made = Gateway(folder, request.param, hurried, PDP_HOLD_TTL=str(_TERM))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def key(gateway: Gateway) -> dict[str, Any]:
    return gateway.stack.create_key(budget_limits={"total": 100.0})


def held(gateway: Gateway, key: dict[str, Any]) -> int:
    """Return what the key's budget has in hold, in nano-USD."""
    look = asyncio.run(gateway.stack.check(key["api_key"], dry_run=True))
    (limit,) = look.limits
    return limit.held


def opened(gateway: Gateway, key: dict[str, Any], **extra: Any) -> tuple[str, Any]:
    """Begin a stream without end; return its request id and the stream, one chunk read."""
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        # Asked for here, else Envoy takes the route that adds it.
        **ASK,
        stream=True,
        stream_options={"include_usage": True},
        user="endless",
        **extra,
    )
    stream = answer.parse()
    next(stream)
    return answer.headers["x-request-id"], stream


def released(gateway: Gateway, key: dict[str, Any]) -> None:
    """Wait until nothing is held. That it has not run out is what its entry says."""
    eventually(lambda: held(gateway, key) == 0, "the hold is released")


def test_a_stream_stays_held_beyond_its_term_and_is_released_when_the_client_leaves(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    request_id, stream = opened(gateway, key)
    before = held(gateway, key)
    assert before >= 1000 * 10_000
    for _ in range(100 * (_TERM + 1)):  # The provider sends 100 a second at most.
        next(stream)
    assert held(gateway, key) == before
    stream.close()
    released(gateway, key)
    assert gateway.settled(request_id)["status"] == "cancelled"


def test_a_stream_that_the_route_cuts_off_is_released_at_once(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    request_id, stream = opened(gateway, key, extra_headers=_SLOW)
    with pytest.raises((openai.APIError, OSError)):  # The connection breaks off.
        for _ in stream:
            pass
    released(gateway, key)
    entry = gateway.settled(request_id)
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "estimated")


def test_a_request_that_is_not_answered_in_time_is_released_at_once(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client(key["api_key"]).chat.completions.create(
            **ASK, user="hang", extra_headers=_SLOW
        )
    assert caught.value.status_code == 504
    released(gateway, key)
    entry = eventually(lambda: settled_of(gateway, key), "the entry is settled")
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "none")


def test_a_client_that_leaves_before_the_answer_is_released_at_once(
    gateway: Gateway, key: dict[str, Any]
) -> None:
    arrived = len(gateway.provider.seen)
    line = http.client.HTTPConnection("127.0.0.1", gateway.envoy.ports.envoy, timeout=60)
    with contextlib.closing(line):
        headers = {
            "authorization": f"Bearer {key['api_key']}",
            "content-type": "application/json",
        }
        line.request("POST", "/v1/chat/completions", json.dumps({**ASK, "user": "hang"}), headers)
        eventually(lambda: len(gateway.provider.seen) > arrived, "the provider has it")
    released(gateway, key)
    entry = eventually(lambda: settled_of(gateway, key), "the entry is settled")
    assert (entry["status"], entry["usage_source"]) == ("cancelled", "none")


def settled_of(gateway: Gateway, key: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settled entry of a key's only request."""
    mine = (each for each in gateway.stack.audit(200) if each["api_key_id"] == key["id"])
    return next((each for each in mine if each["status"] not in ("pending", "active")), None)
