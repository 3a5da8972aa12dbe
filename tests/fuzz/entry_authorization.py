"""Envoy's ext_authz, fed and checked."""

import json
from collections.abc import Awaitable
from typing import Any

from google.protobuf.message import DecodeError

from adapters.envoy.translate import FORCE_USAGE
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.reference import parse_reference
from pdp.reasons import REASONS
from pdp.records import Denied, Held
from pdp.serve.rpc import Answer, encoded
from tests.fuzz import oracle
from tests.fuzz.asked import Asked, check_hold, check_key, seen
from tests.fuzz.bodies import CHAT
from tests.fuzz.oracle import expect
from tests.fuzz.world import Step, World


async def feed_authorization(world: World, step: Step) -> str:
    """Ask for one request; return the reason of the answer."""
    try:
        message = pb.CheckRequest.FromString(step.data)
    except DecodeError:
        return "undecodable"
    before, mark = world.figures(), len(world.sink.written)
    answer = world.authorization.check_now(message)
    if isinstance(answer, Awaitable):
        answer = await answer
    expect(isinstance(answer, Answer), "no answer")
    data = encoded(answer.message)
    response = pb.CheckResponse.FromString(data)
    kind = response.WhichOneof("http_response")
    if kind == "ok_response":
        reason = await _check_allowed(world, message, response, before, mark)
        if step.gone and answer.undo is not None:
            await world.undo(_reservation(response), answer.undo)
    else:
        expect(kind == "denied_response", "an empty answer: Envoy lets it through")
        expect(answer.undo is None, "a denial has nothing to undo")
        reason = _check_denied(response)
        expect(world.figures() == before, "a denial moved a counter")
        _check_denied_records(world, message, mark)
    world.check_silence(step.data, data, mark, lambda: _public(message))
    return reason


def _asked(message: pb.CheckRequest) -> Asked:
    http = message.attributes.request.http
    body = http.raw_body or http.body.encode()
    address = message.attributes.source.address.socket_address.address
    return Asked(http.method, http.path, http.headers, body, address, len(body))


def _headers(options: Any) -> dict[str, str]:
    names = [each.header.key for each in options]
    expect(len(set(names)) == len(names), "a header twice")
    expect(all(each.append_action == 2 for each in options), "a header that is only appended")
    return {each.header.key: each.header.value for each in options}


def _check_denied(response: pb.CheckResponse) -> str:
    denied = response.denied_response
    expect(response.status.code != 0, "status 0: Envoy lets it through")
    body = json.loads(denied.body, object_pairs_hook=_unique)
    expect(set(body) == {"error"}, "the body is not OpenAI's")
    error = body["error"]
    expect(set(error) == {"message", "type", "param", "code"}, "the error is not OpenAI's")
    expect(error["message"] and isinstance(error["message"], str), "an error without message")
    expect(error["param"] is None or isinstance(error["param"], str), "`param` is no text")
    reason = REASONS[error["code"]]
    expect(error["type"] == reason.error_type, "another type than the reason's")
    expect(denied.status.code == reason.http_status >= 400, "another status than the reason's")
    headers = _headers(denied.headers)
    expect(headers["content-type"] == "application/json", "not said to be JSON")
    oracle.check_headers(headers, denied=True)
    return reason.code


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    expect(len(dict(pairs)) == len(pairs), "a member twice in an answer")
    return dict(pairs)


def _check_denied_records(world: World, message: pb.CheckRequest, mark: int) -> None:
    """Check what a denial leaves behind: an entry of a known key, with the model that is seen."""
    for record in world.sink.since(mark):
        expect(isinstance(record, Denied), f"a denial wrote {type(record).__name__}")
        assert isinstance(record, Denied)
        asked = _asked(message)
        check_key(asked, record.facts.key_id)
        model = seen(asked).get("model") or ""
        expect(record.facts.model == model[:256], "denied for another model")


async def _check_allowed(
    world: World, message: pb.CheckRequest, response: pb.CheckResponse, before: Any, mark: int
) -> str:
    expect(response.status.code == 0, "allowed, but with an error status")
    ok = response.ok_response
    reservation_id = _reservation(response)
    world.references.append(response.dynamic_metadata.fields["ref"].string_value)
    world.callers[reservation_id] += 1
    hold = world.live().get(reservation_id)
    assert hold is not None, "allowed without a hold"
    asked = _asked(message)
    check_hold(world, asked, hold)
    removed = set(ok.headers_to_remove)
    expect(removed >= set(oracle.CREDENTIALS), "the key goes upstream")
    oracle.check_headers(_headers(ok.response_headers_to_add), denied=False)
    forced = set(_headers(ok.headers))
    expect(forced <= {FORCE_USAGE}, "a header for the upstream")
    expect((FORCE_USAGE in removed) != bool(forced), "the client's own word about usage passes")
    if hold.action == "chat:stream" and asked.path.startswith(CHAT):
        expect(forced or oracle.asks_for_usage(seen(asked)), "a stream that tells no usage")
    records = world.sink.since(mark)
    if records:
        expect(len(records) == 1 and isinstance(records[0], Held), "a permission is one record")
        expect(world.figures() != before, "allowed and nothing counted")
        world.check_no_overspend(hold.key_id)
        return "ok"
    expect(world.figures() == before, "an answer that is repeated counts again")
    return "again"


def _reservation(response: pb.CheckResponse) -> str:
    reference = parse_reference(response.dynamic_metadata.fields["ref"].string_value)
    assert reference is not None, "no reference for the access log"
    return reference.reservation_id


def _public(message: pb.CheckRequest) -> bytes:
    copy = pb.CheckRequest()
    copy.CopyFrom(message)
    http = copy.attributes.request.http
    http.path = ""
    for name in oracle.CREDENTIALS:
        http.headers.pop(name, None)
    return copy.SerializeToString()
