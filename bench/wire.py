"""Check and ext_authz over the wire against an empty handler on the same transport.

    .venv/bin/python -m bench.wire [--seconds 3] [--rounds 3] [--out FILE]

Interleaved rounds in one run, so that ratios mean something on a noisy machine;
the load is h2load's (Debian: nghttp2-client). Prints requests a second, their
spread, and the ratio to the echo; keeps all figures as JSON.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from adapters.envoy.v1 import wire_pb2
from pdp.v1 import policy_decision_pb2 as pb
from tests.stack import Stack

CHECK = "/pdp.v1.PolicyDecisionService/Check"
EXT_AUTHZ = "/envoy.service.auth.v3.Authorization/Check"


def frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def check_body(api_key: str) -> bytes:
    return frame(
        pb.CheckRequest(
            api_key=api_key,
            action="chat:completions",
            model="gpt-4o",
            estimated_prompt_tokens=100,
            max_output_tokens=1,
        ).SerializeToString()
    )


def ext_authz_body(api_key: str) -> bytes:
    body = json.dumps(
        {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "x" * 900}],
            "max_tokens": 1,
        }
    )
    message = wire_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.raw_body = "POST", "/v1/chat/completions", body.encode()
    http.headers.update(
        {
            "authorization": f"Bearer {api_key}",
            "content-type": "application/json",
            "user-agent": "OpenAI/Python 3.54.0",
            "accept": "application/json",
            "x-forwarded-proto": "http",
        }
    )
    message.attributes.source.address.socket_address.address = "192.0.2.1"
    return frame(message.SerializeToString())


def load(port: int, path: str, body: Path, streams: int, seconds: int) -> float:
    """Return requests a second; fails if any call does."""
    done = subprocess.run(
        [
            "h2load", "-D", str(seconds), "--warm-up-time", "1", "-c", "1", "-m", str(streams),
            "-t", "1", "-d", str(body),
            "-H", "content-type: application/grpc", "-H", "te: trailers",
            f"http://127.0.0.1:{port}{path}",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"finished in .*?, ([\d.]+) req/s", done.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored", done.stdout)
    assert found, done.stdout
    assert failed is None or failed.groups() == ("0", "0"), done.stdout
    return float(found[1])


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(transport: str, seconds: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = Stack(folder, PDP_GRPC_TRANSPORT=transport)
        stack.init()
        team = stack.create_key(
            key_type="team", team_id="t", budget_limits={"daily": 9e6, "monthly": 9e6}
        )
        assert team["id"]
        key = stack.create_key(
            key_type="user",
            team_id="t",
            permissions={"models": ["gpt-4o"]},
            rate_limits={"per_second": 10**9},
            budget_limits={"daily": 9e6},
            token_limits={"daily": 10**15},
        )
        stack.start()
        echo = subprocess.Popen(
            [sys.executable, "-m", "bench.echo", transport], stdout=subprocess.PIPE, text=True
        )
        assert echo.stdout is not None
        echo_port = int(echo.stdout.readline().rpartition(":")[2])
        check, authz = folder / "check", folder / "authz"
        check.write_bytes(check_body(key["api_key"]))
        authz.write_bytes(ext_authz_body(key["api_key"]))
        data = stack.child_pid("data")
        try:
            for _ in range(rounds):
                for streams in (1, 64):
                    for what, port, path, body, pid in (
                        ("echo", echo_port, CHECK, check, echo.pid),
                        ("check", stack.grpc_port, CHECK, check, data),
                        ("ext_authz", stack.grpc_port, EXT_AUTHZ, authz, data),
                    ):
                        before, start = cpu_seconds(pid), time.monotonic()
                        rate = load(port, path, body, streams, seconds)
                        cpu = (cpu_seconds(pid) - before) / (time.monotonic() - start)
                        row = figures.setdefault(f"{what} x{streams}", {"rate": [], "cpu": []})
                        row["rate"].append(rate)
                        row["cpu"].append(cpu)
        finally:
            echo.kill()
            echo.wait()
            stack.stop()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    kept = {}
    for transport in ("native", "grpcio"):
        figures = kept[transport] = run(transport, options.seconds, options.rounds)
        for name, row in figures.items():
            rate = statistics.median(row["rate"])
            echo = statistics.median(figures[f"echo x{name.rpartition('x')[2]}"]["rate"])
            print(
                f"{transport:7} {name:14} {rate:9.0f} req/s "
                f"({min(row['rate']):.0f}-{max(row['rate']):.0f})  {rate / echo:5.0%} of echo  "
                f"{statistics.median(row['cpu']):.2f} cpu  "
                f"{statistics.median(row['cpu']) / rate * 1e6:.0f} us cpu/req",
                flush=True,
            )
    if options.out:
        options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
