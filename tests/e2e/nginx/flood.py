"""`make flood`: very many requests through NGINX, and whether each of them is settled.

By the file the data plane is killed in the middle, and the log rotated before and after.
"""

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from tests.e2e.nginx.settling import Channel, Settling
from tests.ports import free_port
from tests.provider import USAGE
from tests.stack import eventually

_WORKERS: Final = 32
_COST: Final = 7 * 2500 + 4 * 1250 + 7 * 10_000
"""nano-USD of one request."""

_ANSWER: Final = (
    '{"object":"chat.completion","model":"gpt-4o","choices":[{"message":{"content":"hi"}}],'
    f'"usage":{{"prompt_tokens":{USAGE["prompt_tokens"]},"completion_tokens":7,'
    '"prompt_tokens_details":{"cached_tokens":4}}}'
)
_BODY: Final = b'{"model":"gpt-4o","max_tokens":20,"messages":[{"role":"user","content":"hello"}]}'


class Outcome(Struct, frozen=True):
    """What a flood left: requests that clients saw answered, and what became of them.

    `lines` NGINX wrote into files; `refused` answers were 503 while nobody decided, and tried
    again; `unsent` holds are of requests that NGINX gave up before it forwarded them.
    """

    answered: int
    settled: int
    cost: int
    refused: int
    unsent: int
    lines: int
    seconds: float
    seconds_behind: float

    @property
    def complete(self) -> bool:
        """Whether every request is settled, once, at its price."""
        return self.settled == self.answered and self.cost == self.answered * _COST


def provided() -> Callable[[str], str]:
    """Let the same NGINX be the provider, which costs next to nothing."""
    port = free_port()
    server = (
        f"server {{ listen 127.0.0.1:{port}; access_log off; location / {{ "
        f"default_type application/json; return 200 '{_ANSWER}'; }} }}"
    )

    def edit(text: str) -> str:
        text, upstreams = re.subn(
            r"(upstream llm \{\s+server 127\.0\.0\.1):\d+;", rf"\1:{port};", text
        )
        return f"{text}\n{server}\n" if upstreams else text

    return edit


class Flood:
    """Clients that send `count` requests in all, and try again what is refused."""

    def __init__(self, settling: Settling, api_key: str, count: int) -> None:
        self._port = settling.nginx.port
        self._request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
            b"content-type: application/json\r\nauthorization: Bearer %s\r\n"
            b"content-length: %d\r\n\r\n%s" % (api_key.encode(), len(_BODY), _BODY)
        )
        self._left = count
        self.answered = 0
        self.refused = 0

    async def run(self, *others: Awaitable[None]) -> None:
        """Send everything, with what happens meanwhile."""
        await asyncio.gather(*(self._worker() for _ in range(_WORKERS)), *others)

    async def reaches(self, answered: int) -> None:
        """Wait until so many are answered."""
        while True:
            if self.answered >= answered:
                break
            await asyncio.sleep(0.005)

    async def _worker(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while self._left > 0:
            self._left -= 1
            status = 0
            while status != 200:
                writer.write(self._request)
                status = await _status(reader)
                if status != 200:
                    assert status == 503, status
                    self.refused += 1
                    await asyncio.sleep(0.05)
            self.answered += 1
        writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    """Read one answer; return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None, head
    await reader.readexactly(int(found[1]))
    return int(head.split(b" ", 2)[1])


def flood(folder: Path, channel: Channel, count: int) -> Outcome:
    """Send `count` requests and wait until they are settled, two minutes at most."""
    settling = Settling(folder, channel, provided())
    try:
        settling.start()
        key = settling.stack.create_key(budget_limits={"total": 9_000.0})
        clients = Flood(settling, key["api_key"], count)
        trouble = [_trouble(settling, clients, count)] if channel == "file" else []
        start = time.monotonic()
        asyncio.run(clients.run(*trouble))
        seconds = time.monotonic() - start
        start = time.monotonic()
        eventually(lambda: _usage(settling, key)[0] >= count, "all are settled", 120)
        behind = time.monotonic() - start
        requests, cost = _usage(settling, key)
        pending = settling.stack.json("audit", "--limit", "1000", "--status", "pending")["logs"]
        return Outcome(
            clients.answered,
            requests,
            cost,
            clients.refused,
            len(pending),
            _lines(folder),
            seconds,
            behind,
        )
    finally:
        settling.stop()


async def _trouble(settling: Settling, clients: Flood, count: int) -> None:
    """Rotate the log at a quarter and at three, and kill the data plane at a half."""
    log = settling.nginx.usage_log
    await clients.reaches(count // 4)
    log.rename(log.with_name("usage.log.2"))
    settling.nginx.reopen()
    await clients.reaches(count // 2)
    await asyncio.to_thread(settling.stack.kill, "data")
    await clients.reaches(count * 3 // 4)
    log.rename(log.with_name("usage.log.1"))
    settling.nginx.reopen()


def _usage(settling: Settling, key: dict[str, Any]) -> tuple[int, int]:
    """Return (settled requests, nano-USD) of a key in the ledger."""
    for row in settling.stack.json("usage", "--group-by", "key")["usage"]:
        if row["key"] == key["id"]:
            return row["requests"], round(row["cost_usd"] * 1e9)
    return 0, 0


def _lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("usage.log*"))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.nginx.flood", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--channel", action="append", choices=("udp", "file"), help="default: both")
    chosen = parser.parse_args()
    whole = True
    for channel in chosen.channel or ("udp", "file"):
        folder = Path(tempfile.mkdtemp(prefix="pdp-flood-"))
        try:
            found = flood(folder, channel, chosen.count)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        whole = whole and found.complete
        sys.stdout.write(
            f"{channel}: {found.answered:,} answered in {found.seconds:.1f} s, {found.settled:,} "
            f"settled {found.seconds_behind:.1f} s later, {found.cost / 1e9:.4f} USD; "
            f"{found.refused} refused and tried again, {found.unsent} never sent, "
            f"{found.lines:,} lines in files\n"
        )
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
