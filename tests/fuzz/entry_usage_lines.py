"""NGINX's usage lines, by datagrams and by a file, fed and checked."""

import json
import re
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from adapters.nginx.translate import MAX_LINE
from adapters.nginx.usage.channel import Channel
from adapters.nginx.usage.datagrams import Datagrams
from adapters.nginx.usage.follower import Follower
from adapters.nginx.usage.intake import Intake
from pdp.records import Settled
from tests.fuzz.make_usage_lines import Lines, plain
from tests.fuzz.oracle import expect
from tests.fuzz.world import Step, World

_lines: Final = msgspec.msgpack.Decoder(Lines)


_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None


async def feed_usage_lines(world: World, step: Step) -> str:
    """Send lines by their channel; return what they did, roughly."""
    before, mark = world.figures(), len(world.sink.written)
    sent = _lines.decode(step.data)
    intake = Intake(world.desk.engine, Channel("file" if sent.by_file else "udp"))
    if sent.by_file:
        lines = await _by_file(intake, sent.pieces)
    else:
        lines = await _by_datagrams(intake, sent.pieces)
    channel = intake.channel
    counted = channel.taken + channel.malformed + channel.dropped
    expect(counted == len(lines), f"{len(lines)} lines came, {counted} are counted")
    records = world.sink.since(mark)
    if not records:
        expect(world.figures() == before, "lines that settle nothing moved a counter")
    read = [found for found in map(_strictly, lines) if found is not None]
    _check_named(records, read)
    if read and not channel.dropped:
        _check_plain(world, records, read)
    public = "\n".join(found["ref"] for found in read).encode("utf-8", "replace")
    world.check_silence(step.data, b"", mark, lambda: public)
    if records:
        return "settled"
    return "dropped" if channel.dropped else "ignored" if channel.taken else "malformed"


async def _by_datagrams(intake: Intake, sent: list[Any]) -> list[bytes]:
    """Send datagrams, and take them all; return what may be read as lines."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs:
        ours.setblocking(False)
        datagrams = Datagrams(ours, intake)
        for each in sent:
            theirs.send(each)
        await datagrams.finish()
    return [_message(each) for each in sent]


def _message(datagram: bytes) -> bytes:
    """Return what is behind the header of syslog, which is short and has no brace."""
    found = re.match(rb"<[^{]{0,510}(?={)", datagram)
    return datagram[found.end() :] if found else b""


async def _by_file(intake: Intake, pieces: list[bytes | int]) -> list[bytes]:
    """Let a file grow, and take what stands in it; return its lines."""
    intake.end()  # In earnest it tries again.
    with TemporaryDirectory(dir=_MEMORY) as folder:
        path = Path(folder) / "usage.log"
        follower = Follower(path, None, lambda: 0.0)
        follower.begin()
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                if isinstance(piece, int):
                    places = follower.places()
                    follower.close()
                    follower = Follower(path, places, lambda: 0.0)
                    follower.begin()
                else:
                    file.write(piece)
                while lines := follower.read():
                    for line in lines:
                        await intake.take(line)
        follower.close()
    await intake.done()
    intake.channel.dropped += intake.left
    *lines, rest = b"".join(each for each in pieces if isinstance(each, bytes)).split(b"\n")
    return [*lines, b""] if len(rest) > MAX_LINE else lines


def _strictly(line: bytes) -> dict[str, Any] | None:
    """Return a line as another parser reads it, None if it is no usage line."""
    try:
        found = json.loads(line.decode("utf-8", "replace"))
        reference = json.loads(found["ref"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(reference, list) or len(reference) < 6 or found.get("v") != 1:
        return None
    return {**found, "reference": reference}


def _check_named(records: list[Any], read: list[dict[str, Any]]) -> None:
    """Check that nothing was settled but what a line names."""
    for record in records:
        expect(isinstance(record, Settled), "a usage line wrote something else")
        named = any(
            each["reference"][0] == record.reservation_id
            or each["reference"][1:3] == [record.facts.key_id, record.facts.request_id]
            for each in read
        )
        expect(named, f"settled {record.reservation_id}, which no line names")


def _check_plain(world: World, records: list[Any], read: list[dict[str, Any]]) -> None:
    """Check that a plain line is taken, whatever came before it, and is charged as it says."""
    last = read[-1]
    told: Any = last.get("told")
    name = last["reference"][0]
    if last["ref"] not in world.references or not _is_plain(last, told):
        return
    expect(name not in world.live(), "a plain line settled nothing")
    for record in records:
        if len(read) == 1 and record.reservation_id == name:
            tokens = (record.prompt_tokens, record.completion_tokens)
            expect(tokens == tuple(told.values()), f"charged {tokens}, told {told}")
            expect(record.counted_tokens == sum(tokens), "other tokens are counted")
            expect(record.status == "success", f"a success is {record.status}")


def _is_plain(found: dict[str, Any], told: Any) -> bool:
    if not isinstance(told, dict) or list(told) != ["prompt_tokens", "completion_tokens"]:
        return False
    if not told["prompt_tokens"]:  # No word of it.
        return False
    if not all(type(each) is int and 0 <= each <= 10**9 for each in told.values()):
        return False
    return {**found, "reference": 0} == {
        **plain(found["ref"], tuple(told.values())),
        "reference": 0,
    }
