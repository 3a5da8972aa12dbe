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
from pdp.serve.rpc import Answer, encoded, settled
from tests.fuzz import oracle
from tests.fuzz.bodies import CHAT
from tests.fuzz.oracle import expect
from tests.fuzz.world import DEFAULT_OUTPUT, NAMES, Step, World


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
            await _check_undone(world, response, answer)
    else:
        expect(kind == "denied_response", "an empty answer: Envoy lets it through")
        expect(answer.undo is None, "a denial has nothing to undo")
        reason = _check_denied(response)
        expect(world.figures() == before, "a denial moved a counter")
        _check_denied_records(world, message, mark)
    world.check_silence(step.data, data, mark, lambda: _public(message))
    return reason


def _body(message: pb.CheckRequest) -> bytes:
    http = message.attributes.request.http
    return http.raw_body or http.body.encode()


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
        _check_key(message, record.facts.key_id)
        seen = _seen(message)
        expect(record.facts.model == (seen.get("model") or "")[:256], "denied for another model")


def _seen(message: pb.CheckRequest) -> dict[str, Any]:
    """Return the decisive members of a body that has been decided on."""
    http = message.attributes.request.http
    if http.method == "GET":
        return {}
    try:
        return oracle.strict_body(_body(message))
    except oracle.Unclear as error:
        raise oracle.Violation(f"decided on a body that is not clear: {error}") from error


def _check_key(message: pb.CheckRequest, key_id: str) -> None:
    http = message.attributes.request.http
    keys = oracle.presented(http.headers)
    expect([NAMES.get(each) for each in keys] == [key_id], f"decided for {key_id}, another key")
    expect(not any(oracle.is_in_query(http.path, each) for each in keys), "a key in the URL")


async def _check_allowed(
    world: World, message: pb.CheckRequest, response: pb.CheckResponse, before: Any, mark: int
) -> str:
    expect(response.status.code == 0, "allowed, but with an error status")
    ok = response.ok_response
    reference = parse_reference(response.dynamic_metadata.fields["ref"].string_value)
    assert reference is not None, "no reference for the access log"
    world.references.append(response.dynamic_metadata.fields["ref"].string_value)
    hold = world.live().get(reference.reservation_id)
    assert hold is not None, "allowed without a hold"
    key_id = hold.key_id
    _check_key(message, key_id)
    _check_what_was_seen(world, message, hold, _seen(message))
    removed = set(ok.headers_to_remove)
    expect(removed >= set(oracle.CREDENTIALS), "the key goes upstream")
    oracle.check_headers(_headers(ok.response_headers_to_add), denied=False)
    forced = set(_headers(ok.headers))
    expect(forced <= {FORCE_USAGE}, "a header for the upstream")
    expect((FORCE_USAGE in removed) != bool(forced), "the client's own word about usage passes")
    if hold.action == "chat:stream" and message.attributes.request.http.path.startswith(CHAT):
        expect(forced or oracle.asks_for_usage(_seen(message)), "a stream that tells no usage")
    records = world.sink.since(mark)
    if records:
        expect(len(records) == 1 and isinstance(records[0], Held), "a permission is one record")
        expect(world.figures() != before, "allowed and nothing counted")
        world.check_no_overspend(key_id)
        return "ok"
    expect(world.figures() == before, "an answer that is repeated counts again")
    return "again"


def _check_what_was_seen(
    world: World, message: pb.CheckRequest, hold: Any, seen: dict[str, Any]
) -> None:
    http = message.attributes.request.http
    path = http.path.partition("?")[0]
    action = oracle.action_of(http.method, path, seen)
    expect(hold.action == action != "", f"allowed {hold.action}, is {action}")
    expect(hold.model == (seen.get("model") or ""), f"allowed {hold.model}, is {seen}")
    expect(hold.model or action == "models:list", "allowed without a model")
    least = oracle.least_tokens(path, len(_body(message)), seen, DEFAULT_OUTPUT)
    least = least if oracle.has_tokens(hold) else 0
    expect(hold.tokens == least, f"holds {hold.tokens} tokens for {least}")
    address = message.attributes.source.address.socket_address.address
    if world.trusted_hops:
        address = http.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        address = address.partition(":")[0] if address.count(":") == 1 else address
    allowed = oracle.may(hold.key_id, action, hold.model, address)
    expect(allowed, f"{hold.key_id} may not do {action} with {hold.model} from {address}")
    expect(world.is_alive(hold.key_id), f"{hold.key_id} is dead")


async def _check_undone(world: World, response: pb.CheckResponse, answer: Answer) -> None:
    """Check that a permission that nobody got is taken back, without a charge."""
    assert answer.undo is not None
    reference = parse_reference(response.dynamic_metadata.fields["ref"].string_value)
    assert reference is not None
    await settled(answer.undo())
    expect(reference.reservation_id not in world.live(), "a permission that nobody got is held")


def _public(message: pb.CheckRequest) -> bytes:
    copy = pb.CheckRequest()
    copy.CopyFrom(message)
    http = copy.attributes.request.http
    http.path = ""
    for name in oracle.CREDENTIALS:
        http.headers.pop(name, None)
    return copy.SerializeToString()
