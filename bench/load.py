"""Load by h2load (Debian: nghttp2-client), and what it costs the process under load."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

CHECK = "/pdp.v1.PolicyDecisionService/Check"
EXT_AUTHZ = "/envoy.service.auth.v3.Authorization/Check"


def frame(message: bytes) -> bytes:
    """Return a gRPC message with its frame."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def h2load_command(*arguments: str) -> list[str]:
    """Return the command line of h2load."""
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing: apt-get install nghttp2-client")
    return ["h2load", *arguments]


def outcome(text: str) -> str:
    """Return what h2load has printed; fails if any request did."""
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", text)
    assert failed is not None, text
    assert failed.groups() == ("0", "0", "0"), text
    return text


def h2load(*arguments: str) -> str:
    """Run h2load; fails if any request does."""
    command = h2load_command(*arguments)
    return outcome(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def grpc_load(
    port: int,
    path: str,
    body: Path,
    streams: int,
    seconds: int,
    connections: int = 1,
    scheme: str = "http",
) -> float:
    """Call over connections with `streams` in flight on each; return requests a second."""
    text = h2load(
        "-D", str(seconds), "--warm-up-time", "1", "-t", "1",
        "-c", str(connections), "-m", str(streams),
        "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers",
        f"{scheme}://127.0.0.1:{port}{path}",
    )  # fmt: skip
    found = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    assert found, text
    return float(found[1])


class Meter:
    """CPU seconds that processes use while the meter is open."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self.cpu = self.seconds = 0.0

    def __enter__(self) -> "Meter":
        self._cpu, self._start = self._used(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = self._used() - self._cpu
        self.seconds = time.monotonic() - self._start

    def _used(self) -> float:
        total = 0
        for pid in self._pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def rss(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
