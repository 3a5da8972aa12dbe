"""Envoy's access log, fed and checked."""

from collections.abc import AsyncIterator

import msgspec
from google.protobuf.message import DecodeError

from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.reference import parse_reference
from pdp.records import Extended, Settled
from tests.fuzz.oracle import expect
from tests.fuzz.world import Context, Step, World

_frames = msgspec.msgpack.Decoder(list[bytes])


async def feed_access_log(world: World, step: Step) -> str:
    """Send one stream, the MessagePack list of its messages; return what it did, roughly."""
    before, mark = world.figures(), len(world.sink.written)
    messages = _decoded(_frames.decode(step.data))
    response = await world.access_log.stream(_iterated(messages), Context())
    expect(isinstance(response, pb.StreamAccessLogsResponse), "no answer")
    records = world.sink.since(mark)
    expect(all(isinstance(each, Settled | Extended) for each in records), "an odd record")
    settled = sum(isinstance(each, Settled) for each in records)
    if not settled:
        expect(world.figures() == before, "a log that settles nothing moved a counter")
    if messages and messages[-1].http_logs.log_entry:
        _check_plain(world, messages[-1].http_logs.log_entry[-1])
    world.check_silence(step.data, b"", mark, lambda: step.data)
    if settled:
        return "settled"
    return "extended" if records else "ignored" if messages else "undecodable"


def _decoded(frames: list[bytes]) -> list[pb.StreamAccessLogsMessage]:
    """Return the messages up to the first that no transport lets through."""
    found = []
    for frame in frames:
        try:
            found.append(pb.StreamAccessLogsMessage.FromString(frame))
        except DecodeError:
            break
    return found


async def _iterated(
    messages: list[pb.StreamAccessLogsMessage],
) -> AsyncIterator[pb.StreamAccessLogsMessage]:
    for message in messages:
        yield message


def _check_plain(world: World, entry: pb.HTTPAccessLogEntry) -> None:
    """Check that a plain entry is taken, whatever came before it in the stream."""
    common = entry.common_properties
    metadata = common.metadata.filter_metadata
    if set(metadata) != {"envoy.filters.http.ext_authz"} or common.intermediate_log_entry:
        return
    text = metadata["envoy.filters.http.ext_authz"].fields["ref"].string_value
    reference = parse_reference(text)
    if reference is None or text not in world.references or entry.HasField("request"):
        return
    if common.HasField("duration") or common.HasField("start_time"):
        return
    expect(reference.reservation_id not in world.live(), "a plain entry settled nothing")
