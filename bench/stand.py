"""What is measured: a whole `pdp serve`, with a key three levels deep, and an empty server."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.envoy.v1 import wire_pb2
from bench.load import frame
from pdp.v1 import policy_decision_pb2 as pb
from tests.pki import Authority
from tests.stack import Stack

_SHIPPED = 60
"""Seconds in which the ledger has taken what one measurement leaves."""


class Stand:
    """A stack, and the bodies of the calls that a key of it makes."""

    def __init__(self, folder: Path, transport: str, *, tls: bool = False, **settings: str) -> None:
        self.tls: ssl.SSLContext | None = None
        """Whom callers believe; None: the port is plaintext."""
        if tls:
            authority = Authority(folder)
            shown = authority.issue("server", "127.0.0.1")
            settings |= {"PDP_TLS_CERT": str(shown.cert), "PDP_TLS_KEY": str(shown.key)}
            self.tls = ssl.create_default_context(cafile=str(authority.ca))
            self.tls.set_alpn_protocols(["h2"])
        self.stack = Stack(folder, PDP_GRPC_TRANSPORT=transport, **settings)
        self.stack.init()
        self.stack.create_key(
            key_type="team", team_id="t", budget_limits={"daily": 9e6, "monthly": 9e6}
        )
        self.key: dict[str, Any] = self.stack.create_key(
            key_type="user",
            team_id="t",
            permissions={"models": ["gpt-4o"]},
            rate_limits={"per_second": 10**9},
            budget_limits={"daily": 9e6},
            token_limits={"daily": 10**15},
        )
        self.check = folder / "check"
        self.check.write_bytes(check_body(self.key["api_key"]))
        self.ext_authz = folder / "ext_authz"
        self.ext_authz.write_bytes(ext_authz_body(self.key["api_key"]))

    @property
    def scheme(self) -> str:
        """How h2load calls the gRPC port."""
        return "http" if self.tls is None else "https"

    def settle(self) -> None:
        """Wait until the ledger has everything: it ships afterwards, and not into the next one."""
        self.stack.settle(_SHIPPED)


@contextmanager
def stand(folder: Path, transport: str, *, tls: bool = False, **settings: str) -> Iterator[Stand]:
    """Give a running stand."""
    made = Stand(folder, transport, tls=tls, **settings)
    made.stack.start()
    try:
        yield made
    finally:
        made.stack.stop()


@contextmanager
def echo(transport: str) -> Iterator[tuple[int, int]]:
    """Give (port, pid) of an empty handler behind the same transport."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.echo", transport], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2]), process.pid
    finally:
        process.kill()
        process.wait()


def check_body(api_key: str) -> bytes:
    """Return a framed CheckRequest."""
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
    """Return what Envoy sends for a chat completion of 1 KB."""
    content = {"role": "user", "content": "x" * 900}
    body = json.dumps({"model": "gpt-4o", "messages": [content], "max_tokens": 1})
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
