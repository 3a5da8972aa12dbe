"""The RPCs Check and Report of `pdp.v1`, fed and checked."""

from collections.abc import Awaitable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from pdp.actions import ACTIONS
from pdp.reasons import REASONS
from pdp.records import Denied, Held, Settled
from pdp.serve.rpc import Answer, encoded
from pdp.v1 import policy_decision_pb2 as pb
from tests.fuzz import oracle
from tests.fuzz.oracle import expect
from tests.fuzz.world import DEFAULT_OUTPUT, NAMES, Aborted, Context, Step, World

_REPORT_ERRORS = ("invalid_argument", "unknown_key", "unknown_reservation", "unavailable")


async def feed_check(world: World, step: Step) -> str:
    """Ask for one request; return the reason of the answer."""
    try:
        message = pb.CheckRequest.FromString(step.data)
    except DecodeError:
        return "undecodable"
    before, mark = world.figures(), len(world.sink.written)
    answer = world.decisions.check_now(message)
    if isinstance(answer, Awaitable):
        answer = await answer
    if answer is None:
        return await _check_malformed(world, message, before)
    data = encoded(answer.message)
    response = pb.CheckResponse.FromString(data)
    expect(response.decision in (pb.DECISION_ALLOW, pb.DECISION_DENY), "no decision")
    if response.decision == pb.DECISION_ALLOW:
        outcome = _check_allowed(world, message, response, before, mark)
        if step.gone and answer.undo is not None:
            await world.undo(response.reservation_id, answer.undo)
    else:
        outcome = _check_denied(world, message, response, answer, mark)
        expect(world.figures() == before, "a denial moved a counter")
    world.check_silence(step.data, data, mark, lambda: _public(message))
    return outcome


async def _check_malformed(world: World, message: pb.CheckRequest, before: Any) -> str:
    context = Context()
    try:
        await world.decisions.Check(message, context)
    except Aborted:
        pass
    else:
        raise oracle.Violation("malformed at once, but not later")
    units = message.units
    sizes = (message.estimated_prompt_tokens, message.max_output_tokens)
    negative = min(*sizes, units.images, units.characters, units.audio_seconds) < 0
    expect(negative, "refused as malformed, and is not")
    expect(context.code is grpc.StatusCode.INVALID_ARGUMENT, "another status")
    expect(world.figures() == before, "a malformed Check moved a counter")
    return "INVALID_ARGUMENT"


def _check_denied(
    world: World, message: pb.CheckRequest, response: pb.CheckResponse, answer: Answer, mark: int
) -> str:
    reason = REASONS[response.reason]
    expect(response.http_status == reason.http_status >= 400, "another status than the reason's")
    expect(response.message, "a denial without a message")
    expect(not response.reservation_id and answer.undo is None, "a denial that holds")
    oracle.check_headers(response.response_headers, denied=True)
    waits = response.HasField("retry_after")
    expect(waits == ("retry-after" in response.response_headers), "two words about retrying")
    expect(all(each.remaining >= 0 for each in response.limits), "less than nothing remains")
    for record in world.sink.since(mark):
        expect(isinstance(record, Denied) and not message.dry_run, "a record of a denial")
        assert isinstance(record, Denied)
        expect(record.facts.key_id == NAMES.get(message.api_key), "the record of another key")
    return reason.code


def _check_allowed(
    world: World, message: pb.CheckRequest, response: pb.CheckResponse, before: Any, mark: int
) -> str:
    key_id = NAMES.get(message.api_key)
    assert key_id is not None, "allowed without a valid key"
    expect((response.key_id, response.reason) == (key_id, "ok"), "allowed another key")
    expect(response.http_status == 200 and not response.message, "an allowed request has a fault")
    expect(world.is_alive(key_id), f"{key_id} is dead")
    allowed = oracle.may(key_id, message.action, message.model, message.client_ip)
    expect(allowed, f"{key_id} may not do {message.action} with {message.model}")
    bears = ACTIONS[message.action].model_bearing
    expect(message.model or not bears, "allowed without a model")
    oracle.check_headers(response.response_headers, denied=False)
    records = world.sink.since(mark)
    if message.dry_run:
        expect(not response.reservation_id and not records, "a dry run holds")
        expect(world.figures() == before, "a dry run moved a counter")
        return "dry run"
    world.callers[response.reservation_id] += 1
    hold = world.live().get(response.reservation_id)
    assert hold is not None, "allowed without a hold"
    expect(
        (hold.key_id, hold.action, hold.model) == (key_id, message.action, message.model), "hold"
    )
    size = _tokens(message, bears=bears) if oracle.has_tokens(hold) else 0
    expect(hold.tokens == size, "another size is held")
    if not records:
        expect(world.figures() == before, "an answer that is repeated counts again")
        return "again"
    expect(len(records) == 1 and isinstance(records[0], Held), "a permission is one record")
    expect(world.figures() != before, "allowed and nothing counted")
    world.check_no_overspend(key_id)
    return "ok"


def _tokens(message: pb.CheckRequest, *, bears: bool) -> int:
    output = message.max_output_tokens
    if bears and not message.HasField("max_output_tokens"):
        units = message.units
        default = 0 if message.action in oracle.NO_OUTPUT else DEFAULT_OUTPUT
        output = max(default, oracle.IMAGE * units.images, oracle.SPOKEN * units.characters)
    return message.estimated_prompt_tokens + output


def _public(message: pb.CheckRequest) -> bytes:
    copy = pb.CheckRequest()
    copy.CopyFrom(message)
    copy.api_key = ""
    return copy.SerializeToString()


async def feed_report(world: World, step: Step) -> str:
    """Report usages; return what became of them, roughly."""
    try:
        message = pb.ReportRequest.FromString(step.data)
    except DecodeError:
        return "undecodable"
    before, mark = world.figures(), len(world.sink.written)
    context = Context()
    try:
        response = await world.decisions.Report(message, context)
    except Aborted:
        expect(len(message.usages) > 10_000, "refused as too many, and are not")
        expect(context.code is grpc.StatusCode.INVALID_ARGUMENT, "another status")
        return "INVALID_ARGUMENT"
    data = response.SerializeToString()
    response = pb.ReportResponse.FromString(data)
    counted = response.accepted + response.duplicates + len(response.errors)
    expect(counted == len(message.usages), "not every usage is answered")
    for error in response.errors:
        expect(error.code in _REPORT_ERRORS and error.message, f"error {error.code!r}")
    records = world.sink.since(mark)
    expect(all(isinstance(each, Settled) for each in records), "a report wrote something else")
    expect(len(records) == response.accepted, "accepted usages and records differ")
    if not response.accepted:
        expect(world.figures() == before, "a report that was not accepted moved a counter")
    world.check_silence(step.data, data, mark, lambda: step.data)
    if response.accepted:
        return "accepted"
    return "duplicate" if response.duplicates else "error" if response.errors else "empty"
