"""An HTTP server in the event loop of a plane, and the socket it listens on."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from pdp.errors import cannot_listen
from pdp.serve.connections import bounded_protocol
from pdp.serve.transport import clear_socket, unix_path

_GRACE: Final = 2
"""Seconds for what is in flight at the end."""


class HttpServer:
    """One uvicorn in this process's event loop, without its own signal handling."""

    def __init__(self, app: Any, address: str, setting: str) -> None:
        self._socket = listen(address, setting)
        self._server = _Quiet(
            uvicorn.Config(
                app,
                http=bounded_protocol(),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                # Who stands in front of us is said by a setting, not by being on this machine.
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """`host:port` as bound, or the path of a unix socket."""
        name = self._socket.getsockname()
        return name if isinstance(name, str) else f"{name[0]}:{name[1]}"

    def start(self) -> None:
        """Serve in the background."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Finish what is in flight and stop."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: str, setting: str, *, shared: bool = False) -> socket.socket:
    """Return a listening socket for `host:port` or `unix:/path` (mode 0660).

    `shared`: other processes listen on the port, too, and the kernel spreads connections.
    Raises `StartRefused`, naming the setting, when that cannot be done.
    """
    path = unix_path(address)
    try:
        if path is None:
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = socket.socket(family)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            where: tuple[str, int] | str = (host.strip("[]"), int(port))
        else:
            clear_socket(path, setting)
            bound = socket.socket(socket.AF_UNIX)
            where = str(path)
        before = os.umask(0o117)
        try:
            bound.bind(where)
        except OSError:
            bound.close()
            raise
        finally:
            os.umask(before)
        bound.listen(1024)
        bound.setblocking(False)
    except (OSError, ValueError, OverflowError) as error:
        raise cannot_listen(setting, address, error) from error
    return bound
