"""The port that NGINX asks on."""

import asyncio
import socket
from functools import partial
from typing import Final

from adapters.nginx.bounds import Bounds, House
from adapters.nginx.connection import Answers, Connection
from pdp.serve.background import every
from pdp.serve.http import listen

_SWEEP: Final = 1.0
_GRACE: Final = 1.0
"""Seconds for what is being decided at the end: a Check takes milliseconds."""


class NginxServer:
    """Listens from the start; answers from `start` on.

    `shared`: others listen on its port, too. It does from `start` on: until then those that
    answer already have what comes.
    """

    def __init__(
        self, address: str, answers: Answers, bounds: Bounds, *, shared: bool = False
    ) -> None:
        self._wanted = address
        self._socket = None if shared else listen(address, "PDP_NGINX_LISTEN")
        self._answers = answers
        self._house = House(bounds)
        self._undoing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """`host:port` as bound, or the path of a unix socket."""
        if self._socket is None:
            return self._wanted.removeprefix("unix:")
        name = self._socket.getsockname()
        return name if isinstance(name, str) else f"{name[0]}:{name[1]}"

    async def start(self) -> None:
        """Take connections. Raises `StartRefused` if a shared port cannot be had."""
        if self._socket is None:
            self._socket = listen(self._wanted, "PDP_NGINX_LISTEN", shared=True)
        loop = asyncio.get_running_loop()
        make = partial(Connection, self._house, self._answers, self._undoing)
        if self._socket.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(make, sock=self._socket)
        else:
            self._server = await loop.create_server(make, sock=self._socket)

    async def watch(self) -> None:
        """End what takes too long, until cancelled."""
        await every(_SWEEP, self._sweep)

    async def _sweep(self) -> None:
        self._house.sweep(asyncio.get_running_loop().time())

    async def stop(self) -> None:
        """Take nothing new, answer what is there, and close."""
        self._house.closing = True
        if self._server is None:
            if self._socket is not None:
                self._socket.close()
            return
        self._server.close()
        for connection in tuple(self._house.connections):
            connection.finish()
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=_GRACE)
        for connection in tuple(self._house.connections):
            connection.abort()
        await asyncio.sleep(0)  # They hear of it.
        if self._undoing:
            await asyncio.wait(self._undoing, timeout=_GRACE)
