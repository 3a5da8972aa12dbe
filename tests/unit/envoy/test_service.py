"""What Envoy's services do when something goes wrong behind them."""

from typing import Any

import pytest

from adapters.envoy.service import Authorization
from adapters.envoy.v1 import wire_pb2
from adapters.http.ask import HttpOptions
from pdp.records import Settled
from pdp.serve.rpc import Answer
from tests.wire.harness import Desk, record


def chat(partial: str) -> Any:
    message = wire_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path = "POST", "/v1/chat/completions"
    http.raw_body = b'{"model":"gpt-4o"}'
    http.headers.update({"authorization": "Bearer leaf", "x-envoy-auth-partial-body": partial})
    return message


def test_what_envoy_cut_off_is_refused() -> None:
    desk = Desk(record("leaf"))
    service = Authorization(desk.engine, HttpOptions("envoy"), 100, desk.load)
    whole, cut = service.check_now(chat("false")), service.check_now(chat("true"))
    assert isinstance(whole, Answer)
    assert wire_pb2.CheckResponse.FromString(whole.message).HasField("ok_response")
    assert isinstance(cut, Answer)
    assert "a part of the body" in cut.message.denied_response.body


async def test_a_permission_that_cannot_be_said_is_a_denial_and_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> str:
        raise ValueError

    monkeypatch.setattr("adapters.envoy.service.reference_of", broken)
    desk = Desk(record("leaf"))
    service = Authorization(desk.engine, HttpOptions("envoy"), 100, desk.load)
    message = wire_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.raw_body = "GET", "/v1/models", b""
    http.headers["authorization"] = "Bearer leaf"
    answer = service.check_now(message)
    assert isinstance(answer, Answer)
    assert answer.message.denied_response.status.code == 503
    assert answer.void
    assert answer.undo is not None
    answer.undo()
    assert isinstance(desk.sink.records[-1], Settled)
