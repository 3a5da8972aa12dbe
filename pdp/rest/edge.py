"""The outermost layer: names each request, bounds how many run, logs one line of each."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

import structlog
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from pdp.rest.answer import Answer, Stream, response_of
from pdp.rest.faults import answer_of, defect_answer, error_answer

_log = structlog.get_logger(__name__)

MOST_RUNNING: Final = 128
"""Requests at once; more are turned away, for they would only wait for the database."""

CHUNK_DEADLINE: Final = 30.0
"""Seconds that a client may take to read one chunk of a stream."""

_ID: Final = re.compile("[!-~]{1,128}")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Note(Struct):
    """What the log line says of a request: never its query, its body or a path as given."""

    route: str = ""
    key_id: str = ""
    target: str = ""
    request_id: str = ""


Handle = Callable[[Request, Note], Awaitable[Answer | Stream | Response]]


class Edge:
    """An ASGI application around `handle`, which may raise anything.

    `new_id` names a request that comes without an `x-request-id`; `defect` is told of errors
    that nobody foresaw.
    """

    def __init__(
        self, handle: Handle, new_id: Callable[[], str], defect: Callable[[Exception], None]
    ) -> None:
        self._handle = handle
        self._new_id = new_id
        self._defect = defect
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server speaks nothing else"
        request, began = Request(scope, receive), time.perf_counter()
        exchange = _Exchange(self._id_of(request), send)
        note = Note(request_id=exchange.request_id)
        self._running += 1
        try:
            answer = await self._answer(request, note)
            if isinstance(answer, Stream):
                await self._stream(answer, request, exchange)
            else:
                response = response_of(answer) if isinstance(answer, Answer) else answer
                await response(scope, receive, exchange.send)
        finally:
            self._running -= 1
            _log.info(
                "request",
                method=request.method if request.method in _METHODS else "?",
                route=note.route,
                status=exchange.status,
                duration_ms=round((time.perf_counter() - began) * 1000, 1),
                request_id=exchange.request_id,
                key_id=note.key_id or None,
                target=note.target or None,
            )

    async def _answer(self, request: Request, note: Note) -> Answer | Stream | Response:
        if self._running > MOST_RUNNING:
            return error_answer("unavailable", _BUSY, headers={"retry-after": "1"})
        try:
            return await self._handle(request, note)
        except Exception as error:
            foreseen = answer_of(error)
            if foreseen is None:
                self._defect(error)
            return foreseen or defect_answer()

    async def _stream(self, stream: Stream, request: Request, exchange: "_Exchange") -> None:
        """Send chunks until the last, an error, or nobody reads.

        After the first chunk no error can be told but by breaking off: the connection ends
        without the last chunk, which every client notices.
        """
        try:
            await exchange.start_stream(stream.media_type)
            async for chunk in stream.chunks:
                if await request.is_disconnected():
                    return
                async with asyncio.timeout(CHUNK_DEADLINE):
                    await exchange.send(_body(chunk, more=True))
        except Exception as error:
            if answer_of(error) is None and not isinstance(error, TimeoutError):
                self._defect(error)
            _log.warning("stream broken off", request_id=exchange.request_id)
        else:
            await exchange.send(_body(b"", more=False))

    def _id_of(self, request: Request) -> str:
        """Return the caller's id, percent-encoded where it has to be, or a new one."""
        given = request.headers.get("x-request-id", "")
        if not given or len(given) > _LONGEST_ID or "vsk_" in given:
            return self._new_id()
        # As the bytes that came: the header was read as Latin-1, whatever it is.
        return given if _ID.fullmatch(given) else quote(given.encode("latin-1"), safe="")


_BUSY: Final = "too many requests at once: try again"
_LONGEST_ID: Final = 128
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"))


class _Exchange:
    """Sends with the headers that every answer has, and remembers the status."""

    def __init__(self, request_id: str, send: Send) -> None:
        self.request_id = request_id
        self.status = 0
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers()]
        await self._send(message)

    async def start_stream(self, media_type: str) -> None:
        headers = [(b"content-type", media_type.encode())]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-request-id", self.request_id.encode()),
            # Keys, logs and spending are nobody's to keep; some answers carry a secret.
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]


def _body(chunk: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": chunk, "more_body": more}
