"""A port as NGINX meets it, over real sockets, and an engine behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from adapters.http.ask import HttpOptions
from adapters.nginx.bounds import Bounds
from adapters.nginx.server import NginxServer
from adapters.nginx.service import NginxService
from tests.wire.harness import Desk

BODY = b'{"model":"gpt-4o","max_tokens":50}'


class Heard(Struct):
    """An answer. `headers` by name; `body` as JSON where there is one."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])


class Line:
    """A connection to the port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def hear(self) -> Heard:
        """Read one answer; raises `IncompleteReadError` at the end of the connection."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Heard(int(first.split(" ")[1]), headers, json.loads(body) if body else None)

    async def ended(self) -> bool:
        """Wait for the end of the connection; tell whether nothing came before."""
        return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class Port:
    """A running port."""

    def __init__(self, desk: Desk, folder: Path, bounds: Bounds, token: str | None) -> None:
        self.desk = desk
        self.service = NginxService(desk.engine, HttpOptions("nginx"), 100, desk.load, token)
        self.path = folder / "nginx.sock"
        self.server = NginxServer(f"unix:{self.path}", self.service, bounds)
        self._lines: list[Line] = []

    async def line(self) -> Line:
        made = Line(*await asyncio.open_unix_connection(str(self.path)))
        self._lines.append(made)
        return made

    async def ask(self, data: bytes) -> Heard:
        """Send bytes over a connection of their own; return the first answer."""
        line = await self.line()
        line.send(data)
        return await line.hear()

    async def stop(self) -> None:
        for line in self._lines:
            line.writer.transport.abort()
        await self.server.stop()


@asynccontextmanager
async def port(
    desk: Desk, folder: Path, bounds: Bounds | None = None, token: str | None = None
) -> AsyncIterator[Port]:
    made = Port(desk, folder, bounds or Bounds(), token)
    await made.server.start()
    try:
        yield made
    finally:
        await made.stop()


def request(
    body: bytes = BODY,
    *,
    path: str = "/decide",
    key: str = "leaf",
    request_id: str = "r1",
    method: str = "POST",
    uri: str = "/v1/chat/completions",
    framing: str | None = None,
    more: str = "",
) -> bytes:
    """Return a request as NGINX sends it."""
    framing = f"content-length: {len(body)}" if framing is None else framing
    head = (
        f"POST {path} HTTP/1.1\r\nhost: llm.test\r\nauthorization: Bearer {key}\r\n"
        f"X-PDP-Method: {method}\r\nX-PDP-URI: {uri}\r\nX-PDP-Client-IP: 192.0.2.1\r\n"
        f"X-PDP-Request-Id: {request_id}\r\nuser-agent: ua\r\n{framing}\r\n{more}\r\n"
    )
    return head.encode() + body


def chunked(*parts: bytes) -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
