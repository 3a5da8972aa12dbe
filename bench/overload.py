"""Ten times what it can carry, thousands of idle connections, readers that do not read.

    .venv/bin/python -m bench.overload [--seconds 60] [--out FILE]

Prints, for each transport: calls answered and refused (503) a second, the time of an
answer, memory, and how fast it is well again.
"""

import re
import socket
import tempfile
import time
from pathlib import Path

from bench.figures import Figures, options
from bench.load import CHECK, grpc_load, h2load, rss
from bench.stand import Stand, stand

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_IDLE = 5000
_IN_FLIGHT = (50, 100)
"""Connections, and calls in flight on each."""


def answers(at: Stand) -> dict[str, float]:
    """Return Checks so far by reason."""
    text = at.stack.get("/metrics")[1]
    found = re.findall(r'pdp_checks_total\{[^}]*reason="(\w+)"\} ([\d.e+]+)', text)
    return {reason: float(count) for reason, count in found}


def flood(at: Stand, folder: Path, seconds: int) -> list[int]:
    """Keep 5,000 calls in flight; return the time of each answer in us."""
    log = folder / "times"
    log.unlink(missing_ok=True)
    connections, streams = _IN_FLIGHT
    h2load(
        "-D", str(seconds), "-c", str(connections), "-m", str(streams), "-t", "1",
        "-d", str(at.check), f"--log-file={log}",
        "-H", "content-type: application/grpc", "-H", "te: trailers",
        f"http://127.0.0.1:{at.stack.grpc_port}{CHECK}",
    )  # fmt: skip
    return sorted(int(line.split()[2]) for line in log.read_text().splitlines())


def idle(port: int) -> list[socket.socket]:
    """Open connections that say who they are and then nothing; they never read."""
    found = []
    for _ in range(_IDLE):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(_PREFACE)
        found.append(client)
    return found


def main() -> None:
    chosen = options(seconds=60, rounds=1)
    figures = Figures("")
    for transport in ("native", "grpcio"):
        with tempfile.TemporaryDirectory() as name, stand(Path(name), transport) as at:
            measure(at, Path(name), transport, chosen.seconds, figures)
    figures.save(chosen.out, "overload")


def measure(at: Stand, folder: Path, transport: str, seconds: int, figures: Figures) -> None:
    """Play all of it against one transport."""
    data = at.stack.child_pid("data")

    def say(what: str, value: float) -> None:
        figures.add(f"{transport} {what}", value)
        print(f"{transport:7} {what:36} {value:12.1f}", flush=True)

    say("calm, req/s", grpc_load(at.stack.grpc_port, CHECK, at.check, 64, 5))
    before, memory = answers(at), rss(data)
    times = flood(at, folder, seconds)
    after = answers(at)
    for reason in ("ok", "unavailable"):
        say(f"flood, {reason}/s", (after.get(reason, 0) - before.get(reason, 0)) / seconds)
    for percent in (50, 99, 100):
        say(f"flood, p{percent} ms", times[(len(times) - 1) * percent // 100] / 1000)
    say("memory before, MB", memory)
    say("memory after, MB", rss(data))
    start = time.monotonic()
    rate = grpc_load(at.stack.grpc_port, CHECK, at.check, 64, 3)
    say("well again, req/s", rate)
    say("of that, after s", time.monotonic() - start)
    sockets = idle(at.stack.grpc_port)
    say("5,000 idle connections, MB", rss(data))
    say("beside them, req/s", grpc_load(at.stack.grpc_port, CHECK, at.check, 64, 3))
    for client in sockets:
        client.close()


if __name__ == "__main__":
    main()
