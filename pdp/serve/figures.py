"""How a worker tells its metrics to the supervisor: whoever connects is sent them, and that is all.

On a unix socket in the data dir, in Prometheus' text format, as its library writes and reads it.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pdp.serve.http import listen

_PATIENCE: Final = 2.0
"""Seconds for a worker's answer: it takes a millisecond, and Prometheus waits for ten."""


_END: Final = b"# EOF\n"
"""As OpenMetrics ends; a comment to who reads the older format."""


class FiguresPort:
    """Listens from the start; answers from `start` on. Raises `StartRefused` where it cannot."""

    def __init__(self, registry: CollectorRegistry, path: Path) -> None:
        self._registry = registry
        self._socket = listen(f"unix:{path}", "PDP_DATA_DIR")
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """The path of the socket."""
        return str(self._socket.getsockname())

    def start(self) -> None:
        """Answer in the background."""
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._answer, sock=self._socket)
        async with server:
            await server.serve_forever()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(generate_latest(self._registry) + _END)
            await writer.drain()
        writer.close()


async def figures_at(path: Path) -> Iterable[Metric] | None:
    """Return the metrics that a worker tells; None: it does not."""
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                told = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    if not told.endswith(_END):
        return None  # It died meanwhile.
    return list(text_string_to_metric_families(told.decode()))
