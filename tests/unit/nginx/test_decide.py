"""What NGINX is answered to the requests that it passes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.http.ask import HttpOptions
from adapters.http.reference import parse_reference
from adapters.nginx.answer import Reply, encode
from adapters.nginx.question import Received
from adapters.nginx.service import NginxService
from pdp.records import Denied, Held, Settled
from tests.stack import eventually_async
from tests.unit.nginx.line import BODY, chunked, port, request
from tests.wire.harness import Desk, record


@pytest.fixture
def desk() -> Desk:
    return Desk(record("leaf", permissions={"models": ["gpt-4o"]}, rate_limits={"per_hour": 5}))


async def test_a_permission_says_where_the_request_goes_and_carries_no_credential(
    desk: Desk, tmp_path: Path
) -> None:
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request())
    assert (heard.status, heard.body) == (200, None)
    assert heard.headers["x-accel-redirect"] == "@llm"
    assert heard.headers["x-request-id"] == "r1"
    assert heard.headers["x-ratelimit-remaining-requests"] == "4"
    assert "leaf" not in json.dumps(heard.headers).replace('\\"leaf\\"', "")  # The key's id.
    (held,) = desk.sink.records
    assert isinstance(held, Held)
    reference = parse_reference(heard.headers["x-pdp-reference"])
    assert reference is not None
    assert reference.reservation_id == held.hold.reservation_id
    assert (reference.request_id, reference.max_output, reference.streaming) == ("r1", 50, False)
    assert (held.facts.client_ip, held.facts.user_agent) == ("192.0.2.1", "ua")
    assert desk.stats.checks == {("allow", "ok", "nginx"): 1}
    assert sum(nginx.service.seconds.counts) == 1


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"model":"gpt-4o"}', "@llm"),
        (b'{"model":"gpt-4o","stream":true}', "@llm_inject"),
        (b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}', "@llm"),
    ],
)
async def test_a_stream_that_would_not_tell_its_usage_is_asked_for_it(
    desk: Desk, tmp_path: Path, body: bytes, where: str
) -> None:
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request(body))
    assert heard.headers["x-accel-redirect"] == where


async def test_a_stream_whose_body_nginx_cannot_change_goes_on_as_it_is(
    desk: Desk, tmp_path: Path
) -> None:
    stream = b'{"model":"gpt-4o","stream":true}'
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request(stream, more="X-PDP-Body-File: /tmp/0000000001\r\n"))
    assert heard.headers["x-accel-redirect"] == "@llm"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request(b'{"model":"gpt-4"}'), 403, "model_not_allowed"),
        (request(key="nobody"), 401, "invalid_api_key"),
        (request(key=""), 401, "missing_key"),
        (request(more="x-api-key: other\r\n"), 401, "invalid_api_key"),
        (request(more="authorization: Bearer leaf\r\n"), 401, "invalid_api_key"),
        (request(uri="/v1/chat/completions?api_key=leaf"), 401, "invalid_api_key"),
        (request(uri="/v1//chat/completions"), 403, "route_not_allowed"),
        (request(uri="/v1/chat/completions@").replace(b"@", b"\xa0"), 403, "route_not_allowed"),
        (request(uri="@/v1/chat/completions").replace(b"@", b"\x85"), 403, "route_not_allowed"),
        (request(method="GET"), 403, "route_not_allowed"),
        (request(b"{"), 400, "invalid_request"),
        (request(more="content-encoding: gzip\r\n"), 400, "invalid_request"),
        (request(more="content-type: text/plain\r\n"), 400, "invalid_request"),
        (b"POST /decide HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 403, "route_not_allowed"),
    ],
)
async def test_a_denial_is_the_answer_that_the_client_gets(
    desk: Desk, tmp_path: Path, sent: bytes, status: int, code: str
) -> None:
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(sent)
    assert (heard.status, heard.code) == (status, code)
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["x-should-retry"] == "false"
    assert "x-accel-redirect" not in heard.headers
    assert not any(isinstance(one, Held) for one in desk.sink.records)


async def test_what_runs_out_says_when_to_retry(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        for number in range(5):
            assert (await nginx.ask(request(request_id=f"r{number}"))).status == 200
        heard = await nginx.ask(request(request_id="r6"))
    assert (heard.status, heard.code) == (429, "rate_limit_exceeded")
    assert heard.headers["retry-after"] == "720"
    assert isinstance(desk.sink.records[-1], Denied)


async def test_only_nginx_names_the_request(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        named = await nginx.ask(request(more="x-request-id: the client's\r\n"))
        unnamed = await nginx.ask(
            request(more="x-request-id: the client's\r\n").replace(b"X-PDP-Request-Id: r1\r\n", b"")
        )
    assert named.headers["x-request-id"] == "r1"
    assert unnamed.headers["x-request-id"].startswith("req_")


async def test_a_request_that_nginx_sends_again_is_one_request(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        first, again = await nginx.ask(request()), await nginx.ask(request())
        other = await nginx.ask(request(b'{"model":"gpt-4o","max_tokens":51}'))
    assert first.headers["x-pdp-reference"] == again.headers["x-pdp-reference"]
    assert len(desk.sink.records) == 2  # The hold, and the denial of the other.
    assert (other.status, other.code) == (400, "invalid_request")


async def test_bodies_in_chunks_and_pieces_are_bodies(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        body = chunked(BODY[:7], BODY[7:])
        for byte in request(body, framing="transfer-encoding: chunked"):
            line.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await line.hear()).status == 200


async def test_pipelined_requests_are_answered_in_their_order(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request(request_id="a") + request(b"{", request_id="b") + request(request_id="c"))
        heard = [await line.hear() for _ in range(3)]
    assert [one.status for one in heard] == [200, 400, 200]
    assert [one.headers["x-request-id"] for one in heard] == ["a", "b", "c"]


async def test_overload_is_said_at_once(desk: Desk, tmp_path: Path) -> None:
    desk.load.shedding = True
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request())
    assert (heard.status, heard.code, heard.headers["retry-after"]) == (503, "unavailable", "1")
    assert not desk.sink.records


async def test_off_loopback_nginx_must_say_who_it_is(desk: Desk, tmp_path: Path) -> None:
    token = "a token of this test"
    async with port(desk, tmp_path, token=token) as nginx:
        for told in ("", "X-PDP-Caller-Token: another token\r\n"):
            heard = await nginx.ask(request(more=told))
            assert (heard.status, heard.code) == (503, "unavailable")
            assert "token" not in heard.body["error"]["message"]
        heard = await nginx.ask(request(more=f"X-PDP-Caller-Token: {token}\r\n"))
        assert heard.status == 200
        assert token not in json.dumps(heard.headers)
    assert len(desk.sink.records) == 1


class Later:
    """Keys that are known only when the test says so."""

    def __init__(self, desk: Desk) -> None:
        self._keys = desk.keys
        self.known = asyncio.Event()
        self.asked = asyncio.Event()

    async def _look(self, api_key: str) -> Any:
        self.asked.set()
        await self.known.wait()
        return self._keys.lookup(api_key)

    def lookup(self, api_key: str) -> Any:
        return self._look(api_key)


@pytest.fixture
def later(desk: Desk) -> Later:
    made = Later(desk)
    desk.engine._keys = made  # type: ignore[assignment]
    return made


async def test_answers_that_take_time_keep_their_order(
    desk: Desk, later: Later, tmp_path: Path
) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request(request_id="a") + request(request_id="b") + b"nonsense\r\n\r\n")
        await later.asked.wait()
        later.known.set()
        heard = [await line.hear() for _ in range(3)]
        assert await line.ended()
    assert [one.status for one in heard] == [200, 200, 400]


async def test_a_permission_that_finds_nobody_is_taken_back(
    desk: Desk, later: Later, tmp_path: Path
) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request())
        await later.asked.wait()
        await line.close()
        await eventually_async(lambda: _empty(nginx), "the connection is gone")
        later.known.set()
        await eventually_async(lambda: _settled(desk), "the hold is taken back")
    held, settled = desk.sink.records
    assert isinstance(held, Held)
    assert isinstance(settled, Settled)
    assert settled.reservation_id == held.hold.reservation_id


async def test_who_hangs_up_before_we_look_has_no_permission(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request())
        await line.close()
        await eventually_async(lambda: _settled(desk), "the hold is taken back")
    assert [type(one) for one in desk.sink.records] == [Held, Settled]


async def _empty(nginx: Any) -> bool:
    return not nginx.server._house.connections


async def _settled(desk: Desk) -> bool:
    return len(desk.sink.records) == 2


async def test_a_retry_keeps_the_permission_that_the_first_did_not_get(
    desk: Desk, later: Later, tmp_path: Path
) -> None:
    async with port(desk, tmp_path) as nginx:
        line = await nginx.line()
        line.send(request())
        await later.asked.wait()
        again = await nginx.line()
        again.send(request())
        await line.close()
        await eventually_async(lambda: _alone(nginx), "the first connection is gone")
        later.known.set()
        assert (await again.hear()).status == 200
    assert [type(one) for one in desk.sink.records] == [Held]


async def _alone(nginx: Any) -> bool:
    return len(nginx.server._house.connections) == 1


async def test_a_permission_that_cannot_be_said_is_a_denial_and_taken_back(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise ValueError

    monkeypatch.setattr("adapters.nginx.service.reference_of", broken)
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request())
        await eventually_async(lambda: _settled(desk), "the hold is taken back")
    assert (heard.status, heard.code) == (503, "unavailable")
    assert isinstance(desk.sink.records[-1], Settled)


async def test_an_answer_that_would_break_out_of_its_header_is_not_said(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.nginx.service.reference_of", lambda *_: "a\r\nx-evil: 1")
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(request())
        await eventually_async(lambda: _settled(desk), "the hold is taken back")
    assert (heard.status, heard.code) == (503, "unavailable")
    assert "x-evil" not in heard.headers


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_defect_is_a_denial(desk: Desk, at_once: bool) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError

    async def later(_: Any) -> Any:
        raise RuntimeError

    desk.engine.check = broken if at_once else later  # type: ignore[assignment,method-assign]
    service = NginxService(desk.engine, HttpOptions("nginx"), 100, desk.load, None)
    headers = {
        "authorization": "Bearer leaf",
        "x-pdp-method": "POST",
        "x-pdp-uri": "/v1/chat/completions",
    }
    answer = service.answer(Received("/decide", headers, BODY))
    reply = answer if isinstance(answer, Reply) else await answer
    assert reply.status == 503


def test_an_answer_to_head_has_no_body() -> None:
    reply = Reply(403, {"a": "b"}, b"body")
    assert encode(reply, is_head=True, keep=False) == (
        b"HTTP/1.1 403 Forbidden\r\na: b\r\ncontent-length: 4\r\nconnection: close\r\n\r\n"
    )
