"""(e) What deciding adds to a request through the real Envoy, at a fixed rate.

    .venv/bin/python -m bench.gateway [--seconds 10] [--rounds 3] [--out FILE]

The same Envoy configuration three times: without ext_authz; as in examples/envoy; and with
ext_authz answered, and the access log taken, by an empty handler on the same transport,
which is what any authorizer would add on this machine. Requests leave on time, whether or
not the ones before are answered. The provider is a listener of the same Envoy that answers
by itself.
"""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop
import yaml
from msgspec import Struct

from bench.figures import Figures, options
from bench.load import Meter, listens
from bench.openloop import open_loop
from bench.stand import Stand, echo, stand
from pdp.demo.envoy import command, configure, example_config, find_envoy
from pdp.demo.ports import Ports
from tests.ports import free_port
from tests.stack import eventually

_RATE = 1000
_PERCENTS = (50, 99, 99.9)
_BODY = json.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "x" * 900}],
        "max_tokens": 1,
    }
)
ANSWER = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"message": {"content": "y" * 500}}],
        "usage": {"prompt_tokens": 225, "completion_tokens": 1},
    }
)


class Leg(Struct, frozen=True):
    """One proxy: its port, and the processes that work for its requests, by name."""

    port: int
    pids: dict[str, int]


def main() -> None:
    chosen = options(seconds=10)
    figures = Figures("us")
    with tempfile.TemporaryDirectory() as name, ExitStack() as parts:
        folder = Path(name)
        at = parts.enter_context(stand(folder, "native"))
        empty_port, empty_pid = parts.enter_context(echo("native"))
        data, control = at.stack.child_pid("data"), at.stack.child_pid("control")

        def leg(kind: str, grpc_port: int, decides: bool, **pids: int) -> Leg:
            port, pid = parts.enter_context(envoy(folder / kind, grpc_port, decides=decides))
            return Leg(port, {"Envoy": pid, **pids})

        legs = {
            "no auth": leg("plain", empty_port, False),
            "empty": leg("empty", empty_port, True, empty=empty_pid),
            "ext_authz": leg("decides", at.stack.grpc_port, True, data=data, control=control),
        }
        take(figures, at, legs, chosen.rounds, chosen.seconds)
    show(figures, *list(legs)[1:])
    figures.save(chosen.out, "gateway")


def take(figures: Figures, at: Stand, legs: dict[str, Leg], rounds: int, seconds: int) -> None:
    """Measure all legs, one after another, several times."""
    for _ in range(rounds):
        for what, leg in legs.items():
            at.settle()
            measure(figures, what, leg, request(at.key["api_key"]), seconds)


def measure(figures: Figures, what: str, leg: Leg, sent: bytes, seconds: int) -> None:
    """Add a round of one leg."""
    print(f"{what} ...", flush=True)
    with ExitStack() as open_:
        meters = {name: open_.enter_context(Meter(pid)) for name, pid in leg.pids.items()}
        times = uvloop.run(open_loop(leg.port, sent, _RATE, seconds))
    for percent in _PERCENTS:
        figures.add(f"{what} p{percent}", quantile(times, percent) * 1e6)
    count = _RATE * (seconds + 1)  # The first second is done, but not counted.
    for name, meter in meters.items():
        figures.note(f"{what} p50", f"cpu us/req {name}", meter.cpu / count * 1e6)


def show(figures: Figures, *ways: str) -> None:
    """Print what each way of deciding adds to "no auth"."""
    for percent in _PERCENTS:
        base = f"no auth p{percent}"
        figures.show(base, only=f" p{percent}")
        for what in ways:
            added = figures.median(f"{what} p{percent}") - figures.median(base)
            print(f"  {what} adds {added:.0f} us to p{percent} at {_RATE} requests a second")


def request(api_key: str) -> bytes:
    """Return a chat completion of 1 KB."""
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway",
        "content-type: application/json",
        f"authorization: Bearer {api_key}",
        f"content-length: {len(_BODY)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + _BODY).encode()


def quantile(times: list[float], percent: float) -> float:
    """Return the time that `percent` of the requests did not exceed."""
    return statistics.quantiles(times, n=1000)[int(percent * 10) - 1]


@contextmanager
def envoy(folder: Path, grpc_port: int, *, decides: bool) -> Iterator[tuple[int, int]]:
    """Give (port, pid) of a running Envoy."""
    folder.mkdir()
    ports = Ports(free_port(), free_port(), grpc_port, 0, free_port())
    config: dict[str, Any] = yaml.safe_load(configure(example_config(), ports))
    listeners = config["static_resources"]["listeners"]
    if not decides:
        manager = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = [
            each for each in manager["http_filters"] if "ext_authz" not in each["name"]
        ]
        manager["access_log"] = []
        for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
            route.get("typed_per_filter_config", {}).pop("envoy.filters.http.ext_authz", None)
    listeners.append(provider(ports.upstream))
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            command(find_envoy(), path),
            env={**os.environ, "PROVIDER_API_KEY": "sk-provider"},
            stdout=log,
            stderr=log,
        )
    try:
        eventually(lambda: listens(ports.envoy), "Envoy listens")
        yield ports.envoy, process.pid
    finally:
        process.terminate()
        process.wait()


def provider(port: int) -> dict[str, Any]:
    """Return a listener that answers every request by itself."""
    base = "type.googleapis.com/envoy.extensions.filters"
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": ANSWER}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
    manager = {
        "@type": f"{base}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "provider",
        "route_config": {"virtual_hosts": [{"name": "p", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{base}.http.router.v3.Router"},
            }
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "name": "provider",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


if __name__ == "__main__":
    main()
