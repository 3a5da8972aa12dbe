"""Everything the demo needs, started and stopped together."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from pdp.demo.envoy import command, configure, example_config, find_envoy
from pdp.demo.ports import Ports, choose_ports
from pdp.errors import StartRefused
from pdp.temporary import short_folder

_DEADLINE = 30.0
_POLL = 0.05


class Stage:
    """Envoy, the PDP and a stand-in provider, in a folder that goes away with them."""

    def __init__(self) -> None:
        self.ports: Ports = choose_ports()
        self.folder = Path(tempfile.mkdtemp(prefix="pdp-demo-", dir=short_folder()))
        self.data_dir = self.folder / "data"
        self._processes: list[tuple[str, subprocess.Popen[bytes], IO[bytes]]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PDP_")},
            "PDP_DATA_DIR": str(self.data_dir),
            "PDP_GRPC_LISTEN": f"127.0.0.1:{self.ports.grpc}",
            "PDP_OPS_LISTEN": f"127.0.0.1:{self.ports.ops}",
            "PDP_HTTP_LISTEN": f"127.0.0.1:{self.ports.admin}",
            "PDP_HTTP_TRUSTED_HOPS": "1",  # Envoy
            "PDP_NGINX_LISTEN": f"unix:{self.folder / 'nginx.sock'}",
            "PDP_NGINX_USAGE_LISTEN": "off",
            "PROVIDER_API_KEY": "sk-of-the-provider",
        }

    def __enter__(self) -> "Stage":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The last started stops first: Envoy before the PDP that it reports to.
        for _name, process, _log in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for _name, _process, log in self._processes:
            log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        envoy = find_envoy()
        config = self.folder / "envoy.yaml"
        config.write_text(configure(example_config(), self.ports))
        self.organization = self.pdp("init", "--name", "Demo")
        python = [sys.executable, "-m"]
        self._spawn("upstream", [*python, "pdp.demo.upstream", str(self.ports.upstream)])
        self._spawn("pdp", [*python, "pdp", "serve"])
        self._spawn("envoy", command(envoy, config))
        self._await("upstream", lambda: _listens(self.ports.upstream))
        self._await("pdp", self._is_ready)
        self._await("envoy", lambda: _listens(self.ports.envoy))

    def pdp(self, *arguments: str, stdin: Any = None) -> Any:
        """Run a `pdp` command that prints JSON; `stdin` is sent to it as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "pdp", *arguments, "--json"],
            env=self._environment,
            input=None if stdin is None else json.dumps(stdin),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StartRefused(f"`pdp {arguments[0]}` failed: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def create_key(self, **body: Any) -> dict[str, Any]:
        """Make a key from a REST create body."""
        key: dict[str, Any] = self.pdp("keys", "create", "--file", "-", stdin=body)
        return key

    def fallen(self) -> str:
        """Return the name of a part that has ended, empty while all run."""
        return next(
            (name for name, process, _ in self._processes if process.poll() is not None), ""
        )

    def _spawn(self, name: str, arguments: list[str]) -> None:
        log = (self.folder / f"{name}.log").open("w+b")
        process = subprocess.Popen(
            # Whatever ends the demo, its processes end too.
            [sys.executable, "-m", "pdp.serve.leash", str(os.getpid()), *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append((name, process, log))

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + _DEADLINE
        while not ready():
            if self.fallen() or time.monotonic() > end:
                culprit = self.fallen() or name
                lines = (self.folder / f"{culprit}.log").read_text().splitlines()[-5:]
                raise StartRefused(f"{culprit} does not start: {' | '.join(lines) or 'no word'}")
            time.sleep(_POLL)

    def _is_ready(self) -> bool:
        with socket.socket() as client:
            client.settimeout(2)
            try:
                client.connect(("127.0.0.1", self.ports.ops))
                client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in client.recv(64)
            except OSError:
                return False


def _listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
