"""The bytes that come over a connection from NGINX, made, fed and checked."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import h11
from google.protobuf.message import DecodeError

from adapters.envoy.v1 import wire_pb2 as envoy
from adapters.http.reference import parse_reference
from adapters.nginx.bounds import Bounds, House
from adapters.nginx.connection import Connection
from pdp.credentials import CREDENTIAL_HEADERS
from pdp.reasons import REASONS
from pdp.records import Denied, Held, Settled
from tests.fuzz.asked import Asked, check_hold
from tests.fuzz.make import make_authorization, make_form_authorization
from tests.fuzz.mutate import mutate_bytes, random_bytes
from tests.fuzz.oracle import expect
from tests.fuzz.world import Step, World

BOUNDS: Final = Bounds(max_body=3_000, max_head=8_000, most_buffered=40_000)
TOKENS: Final = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\0", b": ", b"0\r\n\r\n", b"POST /decide HTTP/1.1\r\n"),
    *(b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n", b"connection: close\r\n"),
    *(b"X-PDP-URI: /v1/models\r\n", b"x-api-key: vsk_\r\n", b"expect: 100-continue\r\n"),
)


def make_nginx(rng: Random, world: World) -> bytes:
    """Return one to three requests as NGINX would send them, more or less."""
    return _requests(rng, world, make_authorization)


def make_nginx_form(rng: Random, world: World) -> bytes:
    """Return such requests whose bodies are forms."""
    return _requests(rng, world, make_form_authorization)


def _requests(rng: Random, world: World, make: Callable[[Random, World], bytes]) -> bytes:
    data = b"".join(_request(rng, make(rng, world)) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    kind = rng.random()
    if kind < 0.02:
        return random_bytes(rng, 300)
    return mutate_bytes(rng, data, TOKENS) if kind < 0.3 else data


def _request(rng: Random, made: bytes) -> bytes:
    try:
        message = envoy.CheckRequest.FromString(made)
    except DecodeError:
        return b""
    http = message.attributes.request.http
    body = http.raw_body or http.body.encode()
    lines = [
        f"POST {rng.choice(('/decide', '/decide', '/decide', '/auth', '/'))} HTTP/1.1",
        "Host: pdp",
        f"X-PDP-Method: {http.method}",
        f"X-PDP-URI: {http.path}",
        f"X-PDP-Request-Id: {http.headers.get('x-request-id', '')}",
        f"X-PDP-Client-IP: {message.attributes.source.address.socket_address.address}",
        f"X-PDP-Model: {rng.choice(('', 'gpt-4o', 'gpt 4'))}",
        *(f"{name}: {value}" for name, value in http.headers.items() if name[:1] != ":"),
    ]
    if rng.random() < 0.2:
        half = len(body) // 2
        lines.append("transfer-encoding: chunked")
        parts = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    else:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body


class Wire(asyncio.Transport):
    """A transport whose other side is the test's; what is written stays in `written`."""

    def __init__(self, gone: bool) -> None:
        super().__init__()
        self.socket, self._peer = socket.socketpair()
        self.written = b""
        self._closing = False
        if gone:
            self._peer.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else default

    def write(self, data: Any) -> None:
        expect(not self._closing, "an answer after the end")
        self.written += data

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def release(self) -> None:
        self.socket.close()
        self._peer.close()


async def feed_nginx(world: World, step: Step) -> str:
    """Send bytes in two pieces; return what came of the last request in them."""
    before, mark = world.figures(), len(world.sink.written)
    live = dict(world.live())
    house, tasks = House(BOUNDS), set[asyncio.Task[None]]()
    wire = Wire(step.gone)
    connection = Connection(house, world.nginx, tasks)
    try:
        connection.connection_made(wire)
        half = len(step.data) // 2
        for part in (step.data[:half], step.data[half:]):
            if not wire.is_closing():
                connection.data_received(part)
        while tasks:
            await asyncio.gather(*tasks)
        connection.connection_lost(None)
    finally:
        wire.release()
    expect(house.buffered == 0, "a body is still accounted for")
    expect(not house.connections, "a connection is still there")
    answers = _answers(wire.written)
    told = Counter(_reference(headers) for status, headers, _ in answers if status == 200)
    world.callers += told
    records = world.sink.since(mark)
    expect(all(isinstance(one, Held | Denied | Settled) for one in records), "an odd record")
    live.update((one.hold.reservation_id, one.hold) for one in records if isinstance(one, Held))
    held = {one.hold.reservation_id for one in records if isinstance(one, Held)}
    expect(told.keys() <= live.keys(), "a permission without a hold")
    asked_of = _asked(step.data) if told else ()  # It takes longer than all the rest.
    for asked, (status, headers, _) in zip(asked_of, answers, strict=False):
        if status == 200:
            hold = live[_reference(headers)]
            check_hold(world, asked, hold)
            world.check_no_overspend(hold.key_id)
            world.references.append(headers["x-pdp-reference"])
    returned = {one.reservation_id for one in records if isinstance(one, Settled)}
    expect(held - told.keys() <= returned, "a permission that nobody got is kept")
    expect(not step.gone or not told, "a permission for nobody")
    expect(held or world.figures() == before, "a counter moved without a permission")
    world.check_silence(step.data, wire.written, mark, lambda: _public(step.data))
    return _outcome(answers)


def _asked(data: bytes) -> Iterator[Asked]:
    """Return what was asked, as far as h11 reads it: another parser of HTTP, and a strict one."""
    try:
        for request, body in _read(data):
            yield _as_nginx_says(request, body)
    except h11.RemoteProtocolError:
        return


def _read(data: bytes) -> Iterator[tuple[h11.Request, bytes]]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=BOUNDS.max_head)
    connection.receive_data(data)
    request, body = None, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            yield request, body
            connection.send(h11.Response(status_code=204, headers=[]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
        else:
            return


def _as_nginx_says(request: h11.Request, body: bytes) -> Asked:
    headers: dict[str, str] = {}
    for raw, value in request.headers:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    size = len(body)
    if request.target == b"/auth":  # The body is not there: NGINX says what it decides.
        body, size = json.dumps({"model": headers.get("x-pdp-model", "")}).encode(), 0
    method, path = headers.get("x-pdp-method", ""), headers.get("x-pdp-uri", "")
    return Asked(method, path, headers, body, headers.get("x-pdp-client-ip", ""), size)


def _answers(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return the answers, each checked for being whole and well-formed."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        expect(bool(end), "half an answer")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        expect(len(headers) == len(lines), "a header twice")
        status, length = int(first.split(" ")[1]), int(headers["content-length"])
        body, data = data[:length], data[length:]
        expect(len(body) == length, "half a body")
        _check(status, headers, body)
        found.append((status, headers, body))
    return found


def _check(status: int, headers: dict[str, str], body: bytes) -> None:
    redirect = headers.get("x-accel-redirect", "")
    if status == 200:
        expect(not body, "a permission with a body")
        expect(redirect in ("@llm", "@llm_inject", ""), "a permission that leads elsewhere")
        return
    expect(not redirect and "x-pdp-reference" not in headers, "a denial that lets pass")
    error = json.loads(body or headers["x-pdp-error"])["error"]
    expect(error.keys() == {"message", "type", "param", "code"}, "no OpenAI error")
    expect(error["type"] == REASONS[error["code"]].error_type, "another type")
    expect(("retry-after" in headers) != ("x-should-retry" in headers), "retry or not")


def _reference(headers: dict[str, str]) -> str:
    reference = parse_reference(headers["x-pdp-reference"])
    assert reference is not None
    return reference.reservation_id


def _outcome(answers: list[tuple[int, dict[str, str], bytes]]) -> str:
    if not answers:
        return "silence"
    status, headers, body = answers[-1]
    if status == 200:
        return "ok"
    return str(json.loads(body or headers["x-pdp-error"])["error"]["code"])


def _public(data: bytes) -> bytes:
    """Return the input without the lines that may hold keys; a client may name them elsewhere."""
    secret = (*CREDENTIAL_HEADERS, "x-pdp-uri")
    lines = data.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(_starts(secret)))


def _starts(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(f"{name}:".encode() for name in names)
