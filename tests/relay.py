"""A relay between the planes whose lines can be cut, or fall silent as after a power cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Relay:
    """Carries bytes from one unix socket to another."""

    def __init__(self, path: Path, target: Path, *, late: float = 0.0) -> None:
        """`late`: seconds that a new line takes until it carries."""
        self.path = path
        self._late = late
        self._target = target
        self._lines: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._carrying: list[asyncio.Task[None]] = []
        self._cut = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        """Carry until the end of the block."""
        server = await asyncio.start_unix_server(self._accept, self.path)
        try:
            yield self
        finally:
            server.close()
            for line in self._lines:
                for writer in line:
                    writer.close()
            await self.silence()

    async def silence(self) -> None:
        """Let the lines that are there stay open, and carry nothing from now on."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        self._carrying.clear()

    async def cut(self) -> None:
        """Let nothing through, on lines that are there and on new ones."""
        self._cut = True
        await self.silence()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            self._lines.append((writer, writer))
            return
        await asyncio.sleep(self._late)  # A far line, simulated.
        there, back = await asyncio.open_unix_connection(self._target)
        self._lines.append((writer, back))
        for source, sink in ((reader, back), (there, writer)):
            self._carrying.append(asyncio.create_task(_carry(source, sink)))


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()
