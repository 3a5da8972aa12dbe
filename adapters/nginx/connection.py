"""One connection from NGINX: HTTP/1.1, read by llhttp (`httptools`) in its strict mode.

A connection is idle, receives a request, decides, or lingers: it has refused a request
without reading all of it, and throws the rest away so that the answer gets through. Answers
come in the order of the requests. An error in the framing ends the connection.
"""

import asyncio
import select
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final, Protocol, cast

import httptools
import msgspec
import structlog

from adapters.nginx.answer import Reply, encode, refused
from adapters.nginx.bounds import House
from adapters.nginx.question import READ, Received
from pdp.serve.logs import log_defect
from pdp.serve.rpc import settled

_log = structlog.get_logger(__name__)

_MOST_WAITING: Final = 16
"""Pipelined requests that wait for an answer; NGINX never sends even one."""

_SLACK: Final = 256 * 1024
"""Bytes that come in one go, of which some may be of the next request."""

_BUSY: Final = "too many connections: try again"
_NO_HTTP: Final = "this is no HTTP/1.1 request: mend the client"
_LONG_HEAD: Final = "the request's head is larger than {:,} bytes: shorten it"


class Answers(Protocol):
    """Who answers the requests of all connections. None of it raises."""

    def admit(self, head: Received) -> Reply | None:
        """Return why a request is not read any further, None if it is."""
        ...

    def too_large(self, head: Received, most: int) -> Reply:
        """Refuse a body of more than `most` bytes."""
        ...

    def crowded(self, head: Received) -> Reply:
        """Refuse a body for which there is no room."""
        ...

    def answer(self, received: Received) -> Reply | Awaitable[Reply]:
        """Answer a request."""
        ...


class Connection(asyncio.Protocol):
    """Reads requests and writes their answers."""

    def __init__(self, house: House, answers: Answers, undoing: "set[asyncio.Task[None]]") -> None:
        self._house = house
        self._answers = answers
        self._tasks = undoing
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = _NOWHERE
        self._poll = select.poll()
        self._waiting: deque[tuple[Received | Reply, bool]] = deque()
        self._deciding = False
        self._receiving = False
        self._lingering = False
        self._held = 0
        self._paused = False
        self.since = self._loop.time()
        self._begin()

    def _begin(self) -> None:
        """Forget the last request."""
        self._raw = 0
        self._size = 0
        self._in_body = False
        self._over = False
        self._path = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head: Received | None = None

    # -- Bounds

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        return not (self._deciding or self._receiving or self._lingering or self._waiting)

    @property
    def deadline(self) -> float | None:
        """Seconds that what it does may take; a decision has bounds of its own."""
        bounds = self._house.bounds
        if self._lingering:
            return bounds.lingering
        if self._deciding:
            return None
        return bounds.receiving if self._receiving or self._paused else bounds.idle

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def finish(self) -> None:
        """End it once what it does is done: now, if it is idle."""
        if self.idle:
            self._transport.close()

    # -- What the event loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or say that there is none."""
        self._transport = transport = cast("asyncio.Transport", transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        if not self._house.enter(self):
            self._lingering = True
            transport.write(encode(refused("unavailable", _BUSY), is_head=False, keep=False))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Give up the place; what is being decided is taken back when it is."""
        self._house.leave(self)
        self._waiting.clear()
        self._begin()
        self._let_go()
        # It holds us. In a circle both would wait for the collector, which does not see how large
        # we are, and comes seldom.
        del self._parser

    def pause_writing(self) -> None:
        """Read no more from who does not read."""
        self._paused = True
        self.since = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self.since = self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._lingering or self._over:
            return
        if not self._receiving:
            self._receiving = True
            self.since = self._loop.time()
        self._raw += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(refused("invalid_request", _NO_HTTP))
        else:
            self._refuse_bulk()

    def _refuse_bulk(self) -> None:
        """Refuse a head, or the framing of a body, that is larger than it may be."""
        most = self._house.bounds.max_head
        if self._in_body:
            most += _SLACK + 2 * self._size
        if self._receiving and self._raw > most:
            message = _LONG_HEAD.format(self._house.bounds.max_head)
            self._refuse(refused("invalid_request", message, status=431))

    # -- What the parser says

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._receiving = True

    def on_url(self, url: bytes) -> None:
        """Take a part of the path."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that somebody looks at; two of a name become a list."""
        if self._in_body:
            return  # A trailer.
        key = name.lower().decode("latin-1")
        if key in READ:
            # Of HTTP's own spaces alone: a path that ends in 0xA0 is another one.
            text = value.strip(b" \t").decode("latin-1")
            known = self._headers.get(key)
            self._headers[key] = text if known is None else f"{known},{text}"

    def on_headers_complete(self) -> None:
        """Look at the head before the body comes."""
        if self._over:
            return
        self._in_body = True
        self._raw = 0
        if self._parser.should_upgrade():
            self._refuse(refused("invalid_request", _NO_HTTP))
            return
        path = self._path.decode("latin-1")
        is_head = self._parser.get_method() == b"HEAD"
        self._head = head = Received(path, self._headers, b"", is_head)
        reply = self._answers.admit(head)
        if reply is None and int(self._headers.get("content-length", 0)) > self._most:
            reply = self._answers.too_large(head, self._most)
        if reply is not None:
            self._refuse(reply)

    @property
    def _most(self) -> int:
        return self._house.bounds.max_body

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        if self._over or self._head is None:
            return
        self._size += len(part)
        if self._size > self._most:
            self._refuse(self._answers.too_large(self._head, self._most))
        elif not self._house.buffer(len(part)):
            self._refuse(self._answers.crowded(self._head))
        else:
            self._held += len(part)
            self._body.append(part)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait for the answers before it."""
        head = self._head
        if self._over or head is None:
            return
        received = Received(head.path, head.headers, b"".join(self._body), head.is_head)
        keep = self._parser.should_keep_alive()
        self._begin()
        self._receiving = False
        self._take(received, keep=keep)

    # -- Answers

    def _refuse(self, reply: Reply) -> None:
        """Answer without reading on."""
        if self._over or self._lingering:
            return
        self._over = True
        self._receiving = False
        self._body.clear()
        self._take(reply, keep=False)

    def _take(self, item: Received | Reply, *, keep: bool) -> None:
        if self._deciding or self._waiting:
            self._waiting.append((item, keep))
            if len(self._waiting) >= _MOST_WAITING:
                self._transport.pause_reading()
        else:
            self._serve(item, keep=keep)

    def _serve(self, item: Received | Reply, *, keep: bool) -> None:
        if isinstance(item, Reply):
            self._send(item, is_head=False, keep=False)
            return
        answer = self._answers.answer(item)
        if isinstance(answer, Reply):
            self._send(answer, is_head=item.is_head, keep=keep)
        else:
            self._deciding = True
            self._spawn(self._decide(answer, is_head=item.is_head, keep=keep))

    async def _decide(self, answer: Awaitable[Reply], *, is_head: bool, keep: bool) -> None:
        reply = await answer
        self._deciding = False
        self._send(reply, is_head=is_head, keep=keep)
        while self._waiting and not self._deciding and not self._transport.is_closing():
            item, kept = self._waiting.popleft()
            self._serve(item, keep=kept)
        if len(self._waiting) < _MOST_WAITING and not self._transport.is_closing():
            self._transport.resume_reading()

    def _send(self, reply: Reply, *, is_head: bool, keep: bool) -> None:
        """Write an answer; if nobody is there for it, undo it."""
        self._let_go()
        keep = keep and not reply.close and not self._house.closing
        gone = self._transport.is_closing() or self._lingering
        if reply.undo is not None and not gone:
            # NGINX hangs up when its client does, and when it has waited for too long. The event
            # loop would say so after what came before; NGINX never closes one direction alone.
            gone = bool(self._poll.poll(0))
        said = b""
        if not gone:
            said, reply = _said(reply, is_head=is_head, keep=keep)
        if reply.undo is not None and (gone or reply.void):
            self._spawn(_undone(reply.undo))
        if gone:
            return
        self._transport.write(said)
        self.since = self._loop.time()
        if self._over and not self._waiting:
            self._lingering = True
            self._transport.write_eof()
        elif not keep:
            self._transport.close()

    def _let_go(self) -> None:
        """Give back the room of bodies that are not needed any more."""
        if self._held and not self._waiting:
            self._house.release(self._held)
            self._held = 0

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _said(reply: Reply, *, is_head: bool = False, keep: bool = False) -> tuple[bytes, Reply]:
    """Return an answer's bytes and itself; another one if it cannot be said."""
    try:
        return encode(reply, is_head=is_head, keep=keep), reply
    except ValueError as error:
        log_defect(_log, "an answer cannot be said", error)
        other = refused("unavailable", "the check failed: try again")
        other = msgspec.structs.replace(other, undo=reply.undo, void=True)
        return encode(other, is_head=is_head, keep=keep), other


async def _undone(undo: Any) -> None:
    try:
        await settled(undo())
    except Exception as error:
        log_defect(_log, "a permission was not taken back", error)


_NOWHERE: Final = asyncio.Transport()
