"""(e) What deciding adds to a request through the real Envoy, at a fixed rate.

    .venv/bin/python -m bench.gateway [--seconds 10] [--rounds 3] [--out FILE]

The same Envoy configuration twice: as in examples/envoy, and without ext_authz. Requests
leave on time, whether or not the ones before are answered. The provider is a listener of
the same Envoy that answers by itself.
"""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
import yaml

from bench.figures import Figures, options
from bench.load import listens
from bench.openloop import open_loop
from bench.stand import stand
from pdp.demo.envoy import command, configure, example_config, find_envoy
from pdp.demo.ports import Ports
from tests.stack import eventually, free_port

_RATE = 1000
_BODY = json.dumps(
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "x" * 900}],
        "max_tokens": 1,
    }
)
_ANSWER = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"message": {"content": "y" * 500}}],
        "usage": {"prompt_tokens": 225, "completion_tokens": 1},
    }
)


def main() -> None:
    chosen = options(seconds=10)
    figures = Figures("us")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            stand(folder, "native") as at,
            envoy(folder / "plain", at.stack.grpc_port, decides=False) as plain,
            envoy(folder / "decides", at.stack.grpc_port, decides=True) as decides,
        ):
            for _ in range(chosen.rounds):
                for what, port in (("no auth", plain), ("ext_authz", decides)):
                    sent = request(at.key["api_key"])
                    times = uvloop.run(open_loop(port, sent, _RATE, chosen.seconds))
                    for percent in (50, 99, 99.9):
                        figures.add(f"{what} p{percent}", quantile(times, percent) * 1e6)
    for percent in (50, 99, 99.9):
        base, ours = f"no auth p{percent}", f"ext_authz p{percent}"
        added = figures.median(ours) - figures.median(base)
        figures.show(base, only=f"p{percent}")
        print(f"  added p{percent}: {added:.0f} us at {_RATE} requests a second")
    figures.save(chosen.out, "gateway")


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
def envoy(folder: Path, grpc_port: int, *, decides: bool) -> Iterator[int]:
    """Give the port of a running Envoy."""
    folder.mkdir()
    ports = Ports(free_port(), free_port(), grpc_port, 0, free_port())
    config: dict[str, Any] = yaml.safe_load(configure(example_config(), ports))
    listeners = config["static_resources"]["listeners"]
    if not decides:
        manager = listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
        manager["http_filters"] = [
            each for each in manager["http_filters"] if "ext_authz" not in each["name"]
        ]
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
        yield ports.envoy
    finally:
        process.terminate()
        process.wait()


def provider(port: int) -> dict[str, Any]:
    """Return a listener that answers every request by itself."""
    base = "type.googleapis.com/envoy.extensions.filters"
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": _ANSWER}},
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
