"""A real Envoy with the example configuration, only its ports and its patience changed."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from pdp.demo.envoy import command, configure, example_config, find_envoy
from pdp.demo.ports import Ports
from tests.ports import free_port
from tests.stack import eventually

_PATIENCE = ("timeout: 0.5s", "timeout: 20s")
"""What a Check may take: on a busy machine more than half a second is no outage."""


class Envoy:
    """Envoy between a client, a PDP at `grpc` and a provider at `upstream` (ports).

    `edit` changes the text of the configuration where a test needs another one.
    """

    def __init__(
        self, folder: Path, grpc: int, upstream: int, edit: Callable[[str], str] = str
    ) -> None:
        self.ports = Ports(free_port(), upstream, grpc, 0, free_port())
        self._config = folder / "envoy.yaml"
        configured = configure(example_config(), self.ports)
        assert configured.count(_PATIENCE[0]) == 1
        self._config.write_text(edit(configured.replace(*_PATIENCE)))
        self._log = folder / "envoy.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.envoy}"

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command(find_envoy(), self._config),
                env={**os.environ, "PROVIDER_API_KEY": "sk-provider"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._listens, "Envoy listens")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.ports.envoy)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
