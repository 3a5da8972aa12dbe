"""Requests that leave on time, whether or not the ones before are answered.

A time counts from when a request was due, so that a server which stalls cannot hide it
(coordinated omission). h2load's --rps sends in bursts, and is of no use for this.
"""

import asyncio
import re
import time

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Client:
    """Keeps connections to one port; makes one more when all are in use."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.refused: list[bytes] = []
        """The beginnings of answers other than 200: a stall of the machine may cost some."""

    async def ask(self, due: float) -> float:
        """Send the request, read the answer; return seconds since it was due."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        found = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200"):
            self.refused.append(head)
        assert found is not None, head
        await reader.readexactly(int(found[1]))
        self._idle.append((reader, writer))
        return time.perf_counter() - due

    def close(self) -> None:
        """Close what is open."""
        for _, writer in self._idle:
            writer.close()


async def open_loop(port: int, request: bytes, rate: int, seconds: int) -> list[float]:
    """Return the time of each request in seconds; the first second is left out."""
    client = Client(port, request)
    tasks = []
    start = time.perf_counter()
    for number in range(rate * (seconds + 1)):
        due = start + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(client.ask(due)))
    times = await asyncio.gather(*tasks)
    client.close()
    if client.refused:
        print(f"  {len(client.refused)} of {len(times)} not let through: {client.refused[0]!r}")
    assert len(client.refused) < len(times) / 2
    return times[rate:]
