"""Talks HTTP/1.1 and HTTP/2 over bare sockets: no library between the attempt and Envoy."""

import contextlib
import json
import socket
from collections.abc import Sequence
from typing import Any, Final

from tests.http2 import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    RST,
    SETTINGS,
    block,
    frame,
)

TIMEOUT: Final = 30.0
_PING: Final = b"GET /ping HTTP/1.1\r\nhost: llm.test\r\n\r\n"
_PONG: Final = "403 route_not_allowed"


class Ended(Exception):
    """The other side has closed the connection."""


def answer_text(status: int, body: bytes) -> str:
    """Return a status, and the code of the error or what stands in its place."""
    if status < 400:
        return str(status)
    try:
        return f"{status} {json.loads(body)['error'].get('code')}"
    except (ValueError, LookupError, TypeError):
        return f"{status} with {body[:60]!r}"


def talk_http1(port: int, requests: Sequence[bytes], methods: Sequence[str]) -> list[str]:
    """Send requests at once; return every answer, `closed` if there is none.

    `methods` are those of the requests that are answered; without any, none is waited for.
    A last request, known to be refused, goes behind them: answers come in order, so that
    with its answer, or the end of the connection, nothing can be on its way any more.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as line:
        # It may be refused before all of it was sent; the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(b"".join(requests))
        reader = _Reader(line)
        answers: list[str] = []
        with contextlib.suppress(Ended):
            answers.extend(reader.answer(method) for method in methods)
            if methods and not reader.closes:
                line.sendall(_PING)
                answers.append(reader.answer("GET"))
                if answers[-1] == _PONG:
                    return answers[:-1]
            line.shutdown(socket.SHUT_WR)
            while True:
                answers.append(reader.answer("GET"))
        return answers or ["closed"]


class _Reader:
    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._left = b""
        self.closes = False

    def _more(self) -> None:
        try:
            data = self._line.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            raise Ended
        self._left += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._left:
            self._more()
        found, _, self._left = self._left.partition(mark)
        return found

    def _take(self, count: int) -> bytes:
        while len(self._left) < count:
            self._more()
        found, self._left = self._left[:count], self._left[count:]
        return found

    def answer(self, method: str) -> str:
        """Read one answer, those that only announce it skipped."""
        while True:
            first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
            if status >= 200 or status == 101:
                self.closes = headers.get("connection") == "close"
                return answer_text(status, self._body(method, status, headers))

    def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        if method == "HEAD" or status in (101, 204, 304):
            return b""
        if headers.get("transfer-encoding") != "chunked":
            return self._take(int(headers["content-length"]))
        parts = []
        while size := int(self._until(b"\r\n"), 16):
            parts.append(self._take(size))
            self._until(b"\r\n")
        self._until(b"\r\n")
        return b"".join(parts)


# -- HTTP/2: as much as it takes to say anything, and to read a status and a body

_FRAME: Final = 16384
_STATUSES: Final = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}

Fields = list[tuple[bytes, bytes]]


def talk_http2(port: int, requests: Sequence[tuple[Fields, bytes]]) -> list[str]:
    """Send requests as streams of one connection; return their answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as line:
        # No dynamic table, so that no answer depends on the one before.
        sent = [PREFACE, frame(SETTINGS, 0, 0, b"\0\1\0\0\0\0")]
        for number, (fields, body) in enumerate(requests):
            sent += _stream(2 * number + 1, fields, body)
        line.sendall(b"".join(sent))
        streams = _Streams(line)
        return [streams.answer(2 * number + 1) for number in range(len(requests))]


def _stream(number: int, fields: Fields, body: bytes) -> list[bytes]:
    last_of_all = 0 if body else END_STREAM
    frames = [frame(HEADERS, END_HEADERS | last_of_all, number, block(fields))]
    for start in range(0, len(body), _FRAME):
        last = start + _FRAME >= len(body)
        data = body[start : start + _FRAME]
        frames.append(frame(DATA, END_STREAM if last else 0, number, data))
    return frames


class _Streams:
    def __init__(self, line: socket.socket) -> None:
        self._line = line.makefile("rb")
        self._socket = line
        self._statuses: dict[int, int] = {}
        self._bodies: dict[int, bytes] = {}
        self._answers: dict[int, str] = {}

    def answer(self, stream: int) -> str:
        """Return the answer of a stream, `reset` if there is none."""
        while stream not in self._answers:
            try:
                self._take()
            except (Ended, ConnectionResetError):
                return "reset"
        return self._answers[stream]

    def _take(self) -> None:
        head = self._line.read(9)
        if len(head) < 9:
            raise Ended
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
        payload = self._line.read(int.from_bytes(head[:3]))
        if kind == SETTINGS and not flags & ACK:
            self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == GOAWAY:
            raise Ended
        elif kind == RST:
            self._answers.setdefault(stream, "reset")
        elif kind == HEADERS:
            self._statuses.setdefault(stream, _status(payload))
        elif kind == DATA:
            self._bodies[stream] = self._bodies.get(stream, b"") + payload
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            text = answer_text(self._statuses[stream], self._bodies.get(stream, b""))
            self._answers.setdefault(stream, text)


def _status(block: bytes) -> int:
    """Return the status, which stands first; the rest of the header block is not needed."""
    while block[0] >> 5 == 1:  # The size of the dynamic table, which is ours.
        block = block[1:]
    if block[0] & 0x80:
        return _STATUSES[block[0] & 0x7F]
    value = block[2 : 2 + (block[1] & 0x7F)]
    return int(_digits(value) if block[1] & 0x80 else value)


def _digits(packed: bytes) -> str:
    """Return three digits out of their Huffman code: 0-2 have five bits, 3-9 six."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    found: list[Any] = []
    while len(found) < 3:
        short = int(bits[:5], 2)
        found.append(short if short < 3 else int(bits[:6], 2) - 0x16)
        bits = bits[5 if short < 3 else 6 :]
    return "".join(map(str, found))
