"""A PDP, Debian's NGINX before it, and a provider behind it; one set for all tests of a module."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import anthropic
import pytest

from tests.backdrop import Backdrop
from tests.nginx import Nginx
from tests.stack import eventually


class NginxGateway(Backdrop):
    """Everything together. What NGINX reports arrives in its file and at `mailbox`.

    `reports`: it arrives at the PDP instead of there.
    """

    def __init__(
        self,
        folder: Path,
        edit: Callable[[str], str] = str,
        *,
        config: str = "nginx.conf",
        reports: bool = False,
        **settings: str,
    ) -> None:
        super().__init__(folder, **settings)
        self.mailbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.mailbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.mailbox.bind(("127.0.0.1", 0))
        self.mailbox.settimeout(60)
        usage_port = self.stack.usage_port if reports else self.mailbox.getsockname()[1]
        self.nginx = Nginx(
            folder, self.stack, self.provider.port, edit, config=config, usage_port=usage_port
        )
        self._anthropic: list[anthropic.Anthropic] = []

    @property
    def url(self) -> str:
        return self.nginx.url

    def start(self) -> None:
        self.stack.start()
        self.nginx.start()

    def stop(self) -> None:
        self.close_clients()
        for client in self._anthropic:
            client.close()
        self.nginx.stop()
        self.mailbox.close()
        self.stop_rest()

    def anthropic_client(self, api_key: str) -> anthropic.Anthropic:
        made = anthropic.Anthropic(base_url=self.url, api_key=api_key, max_retries=0, timeout=60)
        self._anthropic.append(made)
        return made

    def empty_mailbox(self) -> None:
        """Throw away what has come so far."""
        self.mailbox.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.mailbox.recv(65536):
                pass
        self.mailbox.settimeout(60)

    def lines(self) -> dict[str, dict[str, Any]]:
        """Return the usage lines of the file, by request id."""
        if not self.nginx.usage_log.exists():
            return {}
        whole = self.nginx.usage_log.read_text().rpartition("\n")[0]
        found = [json.loads(line) for line in whole.splitlines()]
        assert len({line["id"] for line in found}) == len(found), "one line a request"
        return {line["id"]: line for line in found}

    def line(self, request_id: str) -> dict[str, Any]:
        """Return the usage line of a request once it is written."""
        found: dict[str, Any] = eventually(
            lambda: self.lines().get(request_id), f"{request_id} is reported"
        )
        return found


class Fronted(Protocol):
    """What has an NGINX in front."""

    nginx: Nginx


def raw(
    gateway: Fronted,
    key: dict[str, Any] | None,
    body: str | bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send one request as it stands; return (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.nginx.port, timeout=30)
    data = body.encode() if isinstance(body, str) else body
    usual = {"content-type": "application/json", "content-length": str(len(data))}
    if key is not None:
        usual["authorization"] = f"Bearer {key['api_key']}"
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {**usual, **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        # It may be refused before all of it was sent; the answer is there all the same.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(data)
        answer = connection.getresponse()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxGateway]:
    """A running gateway with the example configuration."""
    made = NginxGateway(tmp_path_factory.mktemp("nginx"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="package")
def key(gateway: NginxGateway) -> dict[str, Any]:
    return gateway.stack.create_key(name="App", budget_limits={"total": 10_000.0})
