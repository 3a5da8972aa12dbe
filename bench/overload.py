"""Ten times what it can carry, thousands of idle connections, readers that do not read.

    .venv/bin/python -m bench.overload [--seconds 60] [--out FILE]

Prints, for the native transport, the same with TLS, and grpcio: calls answered and refused
(503) a second, the time of an answer, memory before, during and after, and how soon a light
load beside it is answered as before.
"""

import asyncio
import re
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench.caller import at_rate, connect, quantile
from bench.figures import Figures, options
from bench.load import CHECK, grpc_load, h2load_command, outcome, rss
from bench.stand import Stand, stand
from tests.http2 import ACK, SETTINGS, frame, grpc_call, grpc_headers, hello

_IDLE = 5000
_CONNECTIONS, _STREAMS = 50, 100
_READERS, _UNREAD = 20, 500
"""Connections that never read, and the calls that each of them makes."""

_HOLD_TTL = "5"
"""Seconds after which a hold that nobody settles runs out: else the flood's would be kept
beyond the end of the run, 1 kB each, and memory could not be flat."""

_LIGHT = 100
"""Calls a second beside the flood: what a well-behaved caller sees."""

_CALM, _AFTER = 5, 10
"""Seconds of light load before and after the flood."""

_WELL = 2.0
"""Times the calm p99: within that, it is as before."""

Say = Callable[[str, float], None]


def load(at: Stand, seconds: int) -> float:
    """Return Checks a second, 64 in flight."""
    return grpc_load(at.stack.grpc_port, CHECK, at.check, 64, seconds, scheme=at.scheme)


def line_to(at: Stand) -> socket.socket:
    """Return a connection."""
    line = socket.create_connection(("127.0.0.1", at.stack.grpc_port))
    return line if at.tls is None else at.tls.wrap_socket(line, server_hostname="127.0.0.1")


def answers(at: Stand) -> dict[str, float]:
    """Return Checks so far by reason."""
    text = at.stack.get("/metrics")[1]
    found = re.findall(r'pdp_checks_total\{[^}]*reason="(\w+)"\} ([\d.e+]+)', text)
    return {reason: float(count) for reason, count in found}


async def flood(at: Stand, log: Path, seconds: int) -> tuple[dict[int, list[float]], float, float]:
    """Flood for a time, a light load before, beside and after.

    Return the light load's answer times by the second of the run, and the most memory in MB,
    of the whole flood and of its first two thirds: where it is flat, both are alike. By then
    as many holds have run out as are kept for a late report.
    """
    by_second: dict[int, list[float]] = defaultdict(list)
    data, most, early = at.stack.child_pid("data"), 0.0, 0.0
    soon = time.monotonic() + _CALM + seconds * 2 / 3

    async def watch() -> None:
        nonlocal most, early
        while True:
            most = max(most, rss(data))
            if time.monotonic() < soon:
                early = most
            await asyncio.sleep(0.2)

    async def strike() -> None:
        await asyncio.sleep(_CALM)
        command = h2load_command(
            "-D", str(seconds), "-c", str(_CONNECTIONS), "-m", str(_STREAMS), "-t", "1",
            "-d", str(at.check), f"--log-file={log}",
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"{at.scheme}://127.0.0.1:{at.stack.grpc_port}{CHECK}",
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        outcome((await process.communicate())[0].decode())

    light = await connect(at.stack.grpc_port, CHECK, at.tls)
    watching = asyncio.create_task(watch())
    message = at.check.read_bytes()[5:]
    await asyncio.gather(
        strike(),
        at_rate(
            light, [message], _LIGHT, _CALM + seconds + _AFTER,
            lambda due, took, _: by_second[int(due)].append(took),
        ),
    )  # fmt: skip
    watching.cancel()
    light.close()
    return by_second, most, early


def recovery(by_second: dict[int, list[float]], end: int) -> float:
    """Return the seconds until the light load is answered as before; `_AFTER` if it is not."""
    calm = quantile([each for at in range(1, _CALM) for each in by_second[at]], 99)
    for second in range(end, end + _AFTER):
        if by_second[second] and quantile(by_second[second], 99) <= _WELL * calm:
            return second - end
    return float(_AFTER)


def overload(at: Stand, log: Path, seconds: int, say: Say) -> None:
    """Say what becomes of 5,000 calls in flight."""
    data = at.stack.child_pid("data")
    say("calm, req/s", load(at, 5))
    before = answers(at)
    say("memory before, MB", rss(data))
    by_second, most, early = uvloop.run(flood(at, log, seconds))
    after = answers(at)
    times = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    for reason in ("ok", "unavailable"):
        say(f"flood, {reason}/s", (after.get(reason, 0) - before.get(reason, 0)) / seconds)
    for percent in (50, 99, 100):
        say(f"flood, p{percent} ms", quantile(times, percent) / 1000)
    say("memory, first two thirds, MB", early)
    say("memory during, MB", most)
    say("memory after, MB", rss(data))
    end = _CALM + seconds
    for what, first, last in (("calm", 1, _CALM), ("flood", _CALM + 1, end)):
        found = [each for at_ in range(first, last) for each in by_second[at_]]
        say(f"light load, {what}, p99 ms", quantile(found, 99) * 1000)
    say("light load as before, after s", recovery(by_second, end))
    say("well again, req/s", load(at, 3))


def idle(at: Stand, say: Say) -> None:
    """Say what connections cost that say who they are and then nothing."""
    with ExitStack() as lines:
        for _ in range(_IDLE):
            line = lines.enter_context(line_to(at))
            line.sendall(hello(0))
        say("5,000 idle connections, MB", rss(at.stack.child_pid("data")))
        say("beside them, req/s", load(at, 3))


def unread(at: Stand, say: Say) -> None:
    """Say what 10,000 answers cost that nobody reads."""
    headers, message = grpc_headers(CHECK), at.check.read_bytes()[5:]
    calls = b"".join(grpc_call(2 * number + 1, headers, message) for number in range(_UNREAD))
    with ExitStack() as lines:
        for _ in range(_READERS):
            line = lines.enter_context(line_to(at))
            line.settimeout(5)
            line.sendall(hello(0) + frame(SETTINGS, ACK, 0, b"") + calls)
        time.sleep(5)
        say("10,000 unread answers, MB", rss(at.stack.child_pid("data")))
        say("beside them, req/s", load(at, 3))
    time.sleep(2)
    say("without them again, MB", rss(at.stack.child_pid("data")))


def main() -> None:
    chosen = options(seconds=60, rounds=1)
    figures = Figures("")
    for title, transport, tls in (
        ("native", "native", False),
        ("tls", "native", True),
        ("grpcio", "grpcio", False),
    ):

        def say(what: str, value: float, title: str = title) -> None:
            figures.add(f"{title} {what}", value)
            print(f"{title:7} {what:36} {value:12.1f}", flush=True)

        with (
            tempfile.TemporaryDirectory() as name,
            stand(Path(name), transport, tls=tls, PDP_HOLD_TTL=_HOLD_TTL) as at,
        ):
            overload(at, Path(name) / "times", chosen.seconds, say)
            idle(at, say)
            unread(at, say)
    figures.save(chosen.out, "overload")


if __name__ == "__main__":
    main()
