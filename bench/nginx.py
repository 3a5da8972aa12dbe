"""What deciding adds to a request through the real NGINX, at a fixed rate.

    .venv/bin/python -m bench.nginx [--seconds 10] [--rounds 3] [--out FILE]

examples/nginx three times, as `bench.gateway` does it for Envoy: straight to the provider;
asking the PDP, and reading and reporting usage; and the same with an empty handler in the
PDP's place. The provider is a server of the same NGINX, which is one process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figures import Figures, options
from bench.gateway import ANSWER, Leg, show, take
from bench.stand import stand
from tests.nginx import Nginx
from tests.ports import free_port
from tests.stack import Stack

_METERS = "js_body_filter pdp.usage buffer_type=buffer;"


def main() -> None:
    chosen = options(seconds=10)
    figures = Figures("us")
    with tempfile.TemporaryDirectory() as name, ExitStack() as parts:
        folder = Path(name)
        at = parts.enter_context(stand(folder, "native"))
        data, control = at.stack.child_pid("data"), at.stack.child_pid("control")
        port, pid = parts.enter_context(permit())
        empty = Stack(folder / "nobody")
        empty.nginx_port = port

        def leg(kind: str, stack: Stack, *, decides: bool = True, **pids: int) -> Leg:
            found = parts.enter_context(nginx(folder / kind, stack, decides=decides))
            return Leg(found[0], {"NGINX": found[1], **pids})

        legs = {
            "no auth": leg("plain", empty, decides=False),
            "empty": leg("empty", empty, empty=pid),
            "PDP": leg("decides", at.stack, data=data, control=control),
        }
        take(figures, at, legs, chosen.rounds, chosen.seconds)
    show(figures, "empty", "PDP")
    figures.save(chosen.out, "nginx")


@contextmanager
def permit() -> Iterator[tuple[int, int]]:
    """Give (port, pid) of the empty handler."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.permit"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2]), process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def nginx(folder: Path, stack: Stack, *, decides: bool) -> Iterator[tuple[int, int]]:
    """Give (port, pid) of a running NGINX; without `decides` it asks nobody, and reads nothing."""
    folder.mkdir()
    upstream = free_port()

    def edit(text: str) -> str:
        text = text.replace("worker_processes 2;", "master_process off;")
        if not decides:
            text = text.replace("location / {", "location @ask {").replace(_METERS, "")
            text = text.replace("location @llm {", "location / {")
        if "http {\n" in text:
            text = text.rstrip().removesuffix("}") + provider(upstream) + "}\n"
        return text

    made = Nginx(folder, stack, upstream, edit, usage_port=stack.usage_port)
    made.start()
    try:
        yield made.port, int((folder / "nginx.pid").read_text())
    finally:
        made.stop()


def provider(port: int) -> str:
    """Return a server that answers every request by itself."""
    return (
        f"server {{ listen 127.0.0.1:{port}; location / {{ default_type application/json; "
        f"return 200 '{ANSWER}'; }} }}\n"
    )


if __name__ == "__main__":
    main()
