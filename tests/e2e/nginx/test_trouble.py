"""The PDP down, slow and restarted, NGINX reloaded, other bounds: nothing passes undecided."""

import concurrent.futures
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.nginx.conftest import NginxGateway, raw
from tests.e2e.nginx.test_gateway import ASK, error_of
from tests.stack import eventually


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxGateway]:
    """A gateway whose NGINX takes bodies of any size, in files; spent budgets are 402."""

    def edit(text: str) -> str:
        text = text.replace("client_max_body_size 8m;", "client_max_body_size 64m;")
        return text.replace("client_body_buffer_size 8m;", "client_body_buffer_size 16k;")

    made = NginxGateway(tmp_path_factory.mktemp("nginx"), edit, PDP_BUDGET_STATUS="402")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def key(own: NginxGateway) -> dict[str, Any]:
    return own.stack.create_key(name="App")


def completes(gateway: NginxGateway, key: dict[str, Any]) -> bool:
    return raw(gateway, key, json.dumps(ASK))[0] == 200


def test_a_body_over_our_own_bound_is_refused_and_others_go_on(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    before = len(own.provider.arrivals)
    for _ in range(3):
        status, headers, body = raw(own, key, b" " * 30_000_000)
        assert (status, error_of(body)["code"]) == (413, "body_too_large")
        assert headers["x-request-id"]
        assert headers["x-should-retry"] == "false"
    assert len(own.provider.arrivals) == before
    assert completes(own, key)
    _, metrics = own.stack.get("/metrics")
    counted = 'pdp_checks_total{adapter="nginx",decision="deny",reason="body_too_large"} 3.0'
    assert counted in metrics
    assert "pdp_check_duration_seconds_count 0.0" not in metrics


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_that_waits_in_a_file_arrives_as_it_is(
    own: NginxGateway, key: dict[str, Any], stream: bool
) -> None:
    ask = {**ASK, "messages": [{"role": "user", "content": "ä" * 2_000_000}], "stream": stream}
    status, headers, answer = raw(own, key, json.dumps(ask, ensure_ascii=False))
    assert status == 200, answer[:300]
    assert own.provider.seen[-1][1] == ask
    line = own.line(headers["x-request-id"])
    assert (line["told"] == {}, line["chunks"]) == (stream, 5 * stream)


def test_a_spent_budget_is_402_with_its_headers(own: NginxGateway) -> None:
    poor = own.stack.create_key(budget_limits={"total": 0.0})
    status, headers, body = raw(own, poor, json.dumps(ASK))
    assert (status, error_of(body)["code"]) == (402, "budget_exceeded")
    assert headers["x-should-retry"] == "false"


def test_nothing_passes_while_the_pdp_is_away_and_all_is_well_when_it_is_back(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    assert completes(own, key)
    own.stack.stop()
    before = len(own.provider.arrivals)
    for stream in (False, True):
        status, headers, body = raw(own, key, json.dumps({**ASK, "stream": stream}))
        assert (status, error_of(body)["code"]) == (503, "unavailable")
        assert headers["retry-after"] == "1"
    assert len(own.provider.arrivals) == before
    own.stack.start()
    assert completes(own, key)


def test_a_pdp_that_hangs_is_waited_for_two_seconds(own: NginxGateway, key: dict[str, Any]) -> None:
    before = len(own.provider.arrivals)
    pid = own.stack.kill("data", signal.SIGSTOP)
    try:
        status, _, body = raw(own, key, json.dumps(ASK))
        assert (status, error_of(body)["code"]) == (503, "unavailable")
        assert len(own.provider.arrivals) == before
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: completes(own, key), "requests pass again")


def test_kept_connections_to_a_pdp_that_was_killed_cost_no_request(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: completes(own, key), range(16)))
        old = own.stack.kill("data")
        eventually(lambda: own.stack.child_pid("data") not in (0, old), "it is started again")
        own.stack.wait_ready()
        assert all(pool.map(lambda _: completes(own, key), range(16)))


def test_a_reload_under_load_loses_no_request(own: NginxGateway, key: dict[str, Any]) -> None:
    lines = len(own.lines())
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(raw, own, key, json.dumps({**ASK, "stream": number % 2 == 0}))
            for number in range(120)
        ]
        for number in (20, 60, 90):
            asked[number].result()
            own.nginx.reload()
        answers = [one.result() for one in asked]
    assert {status for status, _, _ in answers} == {200}
    ids = {headers["x-request-id"] for _, headers, _ in answers}
    assert len(ids) == 120
    eventually(lambda: len(own.lines()) == lines + 120, "all are reported")
    assert all(own.lines()[one]["told"]["prompt_tokens"] == 11 for one in ids)


def test_a_provider_that_is_away_is_said_and_reported(
    own: NginxGateway, key: dict[str, Any]
) -> None:
    own.run(own.provider.stop())
    status, headers, body = raw(own, key, json.dumps(ASK))
    assert (status, error_of(body)["code"]) == (503, "unavailable")
    line = own.line(headers["x-request-id"])
    assert (line["status"], line["upstream_status"], line["told"]) == (503, "502", {})
