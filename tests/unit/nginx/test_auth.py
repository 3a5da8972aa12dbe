"""What NGINX's `auth_request` is answered: it sends no bodies and knows three statuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.http.ask import HttpOptions
from adapters.http.reference import parse_reference
from adapters.nginx.answer import Reply
from adapters.nginx.question import Received
from adapters.nginx.service import NginxService
from pdp.options import Options
from pdp.records import Held
from tests.unit.nginx.line import port, request
from tests.wire.harness import Desk, record


@pytest.fixture
def desk() -> Desk:
    return Desk(record("leaf", permissions={"models": ["gpt-4o"]}))


def ask(desk: Desk, strict: bool = False, **changes: str) -> Reply:
    headers = {
        "authorization": "Bearer leaf",
        "content-encoding": "gzip",
        "content-type": "multipart/form-data",
        "x-pdp-method": "POST",
        "x-pdp-uri": "/v1/chat/completions",
        "x-pdp-model": "gpt-4o",
        "x-pdp-body-bytes": "400",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    options = HttpOptions("nginx", strict_estimate=strict)
    answer = NginxService(desk.engine, options, 100, desk.load, None).answer(
        Received("/auth", headers)
    )
    assert isinstance(answer, Reply)
    return answer


def test_a_permission_holds_by_the_length_of_the_body_and_the_usual_output(desk: Desk) -> None:
    reply = ask(desk)
    assert (reply.status, reply.body) == (200, b"")
    assert "x-accel-redirect" not in reply.headers
    reference = parse_reference(reply.headers["x-pdp-reference"])
    assert reference is not None
    assert (reference.prompt_tokens, reference.max_output) == (100, 100)
    (held,) = desk.sink.records
    assert isinstance(held, Held)
    assert (held.facts.model, held.facts.action) == ("gpt-4o", "chat:completions")


@pytest.mark.parametrize(("said", "action"), [("1", "chat:stream"), ("0", "chat:completions")])
def test_nginx_says_whether_it_is_a_stream(desk: Desk, said: str, action: str) -> None:
    assert ask(desk, x_pdp_stream=said).status == 200
    assert desk.sink.records[0].facts.action == action  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("said", "tokens"), [("", 0), ("-1", 0), ("x", 0), ("9" * 12, 0), ("²", 0), ("7", 7)]
)
def test_a_length_that_is_none_counts_as_nothing(desk: Desk, said: str, tokens: int) -> None:
    ask(desk, strict=True, x_pdp_body_bytes=said)
    held = desk.sink.records[0]
    assert isinstance(held, Held)
    assert held.hold.prompt_tokens == tokens


@pytest.mark.parametrize(
    ("changes", "status", "true", "code"),
    [
        ({"x_pdp_model": "gpt-4"}, 403, 403, "model_not_allowed"),
        ({"x_pdp_model": ""}, 403, 400, "invalid_request"),
        ({"x_pdp_model": "gpt 4"}, 403, 400, "invalid_request"),
        ({"authorization": "Bearer nobody"}, 401, 401, "invalid_api_key"),
        ({"x_pdp_uri": "/v1/files"}, 403, 403, "route_not_allowed"),
        ({"x_pdp_uri": "/v1/images/generations"}, 403, 403, "route_not_allowed"),
        ({"x_pdp_uri": "/v1/audio/transcriptions?a=b"}, 403, 403, "route_not_allowed"),
    ],
)
def test_a_denial_has_its_true_status_beside_one_that_auth_request_knows(
    desk: Desk, changes: dict[str, Any], status: int, true: int, code: str
) -> None:
    reply = ask(desk, **changes)
    assert (reply.status, reply.body) == (status, b"")
    assert reply.headers["x-pdp-status"] == str(true)
    error = json.loads(reply.headers["x-pdp-error"])["error"]
    assert error["code"] == code
    assert error["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_a_budget_that_is_spent_is_402_where_the_operator_wants_it() -> None:
    desk = Desk(record("leaf", budget_limits={"total": 0.0}), options=Options(budget_status=402))
    reply = ask(desk)
    assert (reply.status, reply.headers["x-pdp-status"]) == (403, "402")


def test_a_name_of_other_letters_stays_in_its_header() -> None:
    desk = Desk(record("leaf", name="Käse\r\nx-evil: 1", rate_limits={"per_hour": 0}))
    reply = ask(desk)
    assert reply.headers["x-pdp-status"] == "429"
    assert reply.headers["x-pdp-error"].isascii()
    assert "\n" not in reply.headers["x-pdp-error"]


def test_overload_is_told_alike(desk: Desk) -> None:
    desk.load.shedding = True
    reply = ask(desk)
    assert (reply.status, reply.headers["x-pdp-status"]) == (403, "503")
    assert reply.headers["retry-after"] == "1"


async def test_it_is_asked_over_the_same_port(desk: Desk, tmp_path: Path) -> None:
    async with port(desk, tmp_path) as nginx:
        heard = await nginx.ask(
            request(b"", path="/auth", framing="", more="X-PDP-Model: gpt-4o\r\n").replace(
                b"\r\n\r\n", b"\r\n", 1
            )
        )
    assert heard.status == 200
