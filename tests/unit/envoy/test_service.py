"""What Envoy's services do when something goes wrong behind them."""

from typing import Any

import pytest

from adapters.envoy.service import Authorization
from adapters.envoy.translate import EnvoyOptions
from adapters.envoy.v1 import wire_pb2
from pdp.records import Settled
from pdp.serve.rpc import Answer
from tests.wire.harness import Desk, record


async def test_a_permission_that_cannot_be_said_is_a_denial_and_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> str:
        raise ValueError

    monkeypatch.setattr("adapters.envoy.service.reference_of", broken)
    desk = Desk(record("leaf"))
    service = Authorization(desk.engine, EnvoyOptions(), 100, desk.load)
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
