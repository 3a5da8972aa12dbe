"""The outermost layer: nothing that goes wrong below it shows, hangs or stays."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from pdp.errors import Unavailable
from pdp.rest import content, edge
from pdp.rest.answer import Answer, Stream
from pdp.rest.content import JSON_TYPES, read_content
from pdp.rest.edge import Edge, Note
from pdp.rest.faults import HttpFault

Message = MutableMapping[str, Any]


class Client:
    """Sends one request and keeps what comes back."""

    def __init__(self, *messages: Message, method: str = "GET", **headers: str) -> None:
        self.sent: list[Message] = []
        self._messages = list(messages)
        self.scope = {
            "type": "http",
            "method": method,
            "path": "/v1/x",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def call(self, handle: Any, defects: list[Exception] | None = None) -> "Client":
        known: list[Exception] = [] if defects is None else defects
        await Edge(handle, lambda: "req-1", known.append)(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)


async def test_a_defect_is_told_to_the_log_alone() -> None:
    async def handle(request: Request, note: Note) -> Answer:
        raise ValueError("vsk_prod_secret")

    defects: list[Exception] = []
    client = await Client().call(handle, defects)
    assert client.status == 500
    assert json.loads(client.body)["error"]["code"] == "internal_error"
    assert b"vsk_" not in client.body
    assert len(defects) == 1
    assert client.headers["x-request-id"] == "req-1"
    assert client.headers["cache-control"] == "no-store"


async def test_what_was_foreseen_is_no_defect() -> None:
    async def handle(request: Request, note: Note) -> Answer:
        raise Unavailable("the database does not answer", 3)

    defects: list[Exception] = []
    client = await Client().call(handle, defects)
    assert (client.status, client.headers["retry-after"], defects) == (503, "3", [])


async def test_more_requests_than_run_at_once_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "MOST_RUNNING", 2)
    go_on = asyncio.Event()

    async def handle(request: Request, note: Note) -> Answer:
        await go_on.wait()
        return Answer({})

    server = Edge(handle, lambda: "r", lambda error: None)
    clients = [Client() for _ in range(3)]
    tasks = [
        asyncio.create_task(server(client.scope, client.receive, client.send)) for client in clients
    ]
    await tasks[2]
    assert clients[2].status == 503
    assert clients[2].headers["retry-after"] == "1"
    go_on.set()
    await asyncio.gather(*tasks)
    assert [client.status for client in clients] == [200, 200, 503]
    late = Client()
    await server(late.scope, late.receive, late.send)
    assert late.status == 200


def stream_of(*chunks: bytes, error: Exception | None = None) -> Any:
    async def chunked() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if error:
            raise error

    async def handle(request: Request, note: Note) -> Stream:
        return Stream(chunked(), "application/x-ndjson")

    return handle


async def test_a_stream_comes_as_it_is() -> None:
    client = await Client().call(stream_of(b"a\n", b"b\n"))
    assert (client.status, client.body, client.is_complete) == (200, b"a\nb\n", True)
    assert client.headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize("error", [ValueError("defect"), Unavailable("no database")])
async def test_a_stream_that_fails_is_broken_off(error: Exception) -> None:
    defects: list[Exception] = []
    client = await Client().call(stream_of(b"a\n", error=error), defects)
    assert not client.is_complete
    assert defects == ([error] if isinstance(error, ValueError) else [])


async def test_a_stream_that_nobody_reads_ends() -> None:
    client = await Client({"type": "http.disconnect"}).call(stream_of(b"a\n", b"b\n"))
    assert client.body == b""


async def test_a_stream_read_too_slowly_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CHUNK_DEADLINE", 0.01)

    class Slow(Client):
        async def send(self, message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()
            await super().send(message)

    client = await Slow().call(stream_of(b"a\n"))
    assert client.body == b""


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "DEADLINE", 0.01)
    client = Client({"type": "http.request", "body": b"{", "more_body": True}, method="POST")
    with pytest.raises(HttpFault) as caught:
        await read_content(Request(client.scope, client.receive), JSON_TYPES, optional=False)
    assert caught.value.code == "request_timeout"
    assert caught.value.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ("mine", "mine"),
        ("a b", "a%20b"),
        ("é", "%C3%A9"),
        ("x" * 129, "req-1"),
        ("", "req-1"),
        ("vsk_prod_x", "req-1"),
    ],
)
async def test_request_ids(given: str, echoed: str) -> None:
    async def handle(request: Request, note: Note) -> Answer:
        return Answer({})

    client = await Client(**{"x-request-id": given}).call(handle)
    assert client.headers["x-request-id"] == echoed
