"""Usage lines over UDP, as NGINX's `access_log syslog:` sends them.

Quick, and lossy: what comes while nobody listens, or faster than it is taken for long, is
gone, and its hold runs out. What is lost within reach is counted.
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import Final

import structlog

from adapters.nginx.translate import message_of
from adapters.nginx.usage.channel import Complaint
from adapters.nginx.usage.intake import Intake
from pdp.errors import cannot_listen

_log = structlog.get_logger(__name__)

WANTED_BUFFER: Final = 8 * 1024 * 1024
"""Bytes that the kernel is asked to keep, some thousand lines: its default holds 166."""

MOST_QUEUED: Final = 20_000
"""Lines that wait here, more are dropped."""

MOST_BYTES: Final = 32 * 1024 * 1024
"""Bytes in them: a line has less than 1 kB, but a datagram may have 64."""

_AT_ONCE: Final = 64
"""Datagrams that are fetched in one go, a few microseconds each."""

_LARGEST: Final = 65_536
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO_DROPS: Final = 8


class Datagrams:
    """Listens on a bound socket; `run` takes what comes."""

    def __init__(self, bound: socket.socket, intake: Intake, most: int = MOST_QUEUED) -> None:
        self._socket = bound
        self._intake = intake
        self._most = most
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._came = asyncio.Event()
        self._overrun = Complaint(
            _log, "usage lines come faster than they are taken: some are lost"
        )

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        name = self._socket.getsockname()
        return f"{name[0]}:{name[1]}"

    def counts(self) -> list[tuple[str, str, int]]:
        """Return (channel, result, lines); what the kernel had no room for is dropped, too."""
        return [
            (name, result, lines + (dropped_by_kernel(self._socket) if result == "dropped" else 0))
            for name, result, lines in self._intake.channel.counts()
        ]

    async def run(self) -> None:
        """Take lines until cancelled."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._fetch)
        try:
            while True:
                await self._came.wait()
                self._came.clear()
                while self._queue:
                    await self._intake.take(self._queue[0])
                    self._pop()
        finally:
            loop.remove_reader(self._socket)

    async def finish(self) -> None:
        """Take what has come by now, and listen no more."""
        # A sender who does not stop must not keep us.
        for _ in range(self._most // _AT_ONCE):
            if not self._fetch():
                break
        self._intake.end()
        while self._queue:
            await self._intake.take(self._queue[0])
            self._pop()
        await self._intake.done()
        self._intake.channel.dropped += self._intake.left
        self._socket.close()

    def _fetch(self) -> bool:
        """Fetch what the kernel has, some at a time; tell whether there may be more."""
        for _ in range(_AT_ONCE):
            try:
                datagram = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return False
            except OSError as error:  # Another's ICMP answer, at the most.
                _log.debug("a datagram was not received", error=error.strerror)
                return False
            self._put(datagram)
        return True

    def _put(self, datagram: bytes) -> None:
        message = message_of(datagram)
        if message is None:
            self._intake.refuse()
        elif len(self._queue) >= self._most or self._bytes + len(message) > MOST_BYTES:
            self._intake.channel.dropped += 1
            self._overrun.say(dropped=self._intake.channel.dropped)
        else:
            self._queue.append(message)
            self._bytes += len(message)
            self._came.set()

    def _pop(self) -> None:
        self._bytes -= len(self._queue.popleft())


def bind_datagrams(address: str, setting: str, *, shared: bool = False) -> socket.socket:
    """Return a UDP socket bound to `host:port`, with as large a buffer as the kernel allows.

    `shared`: other processes have it bound, too, and each sender's lines go to one of them.
    Raises `StartRefused`, naming the setting, when that cannot be done.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((host, int(port)))
        except (OSError, ValueError, OverflowError):
            bound.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        raise cannot_listen(setting, address, error) from error
    bound.setblocking(False)
    buffer = raise_buffer(bound, WANTED_BUFFER)
    if buffer < WANTED_BUFFER:
        _log.warning(
            "the kernel gives a small buffer for usage lines, bursts may be lost: "
            "raise net.core.rmem_max",
            bytes=buffer,
            wanted=WANTED_BUFFER,
        )
    return bound


def raise_buffer(bound: socket.socket, wanted: int) -> int:
    """Ask for a receive buffer, beyond the system's bound where that is allowed; return its size.

    In bytes as asked for: the kernel keeps and tells twice that.
    """
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, wanted)
            break
    return bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def dropped_by_kernel(bound: socket.socket) -> int:
    """Return how many datagrams the socket's buffer had no room for."""
    try:
        found = bound.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
    except OSError:  # Closed, or a kernel that does not say.
        return 0
    return int(struct.unpack_from("=I", found, 4 * _MEMINFO_DROPS)[0]) if len(found) >= 36 else 0
