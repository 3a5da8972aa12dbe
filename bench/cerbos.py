"""The peer Cerbos, deciding as much of our Check as it knows: principal, action, model.

Its binary is the npm package @cerbos/cerbos-linux-x64, which `make bench` puts into
bench/.cerbos. It keeps no counters and takes no API keys: what it does not do is in our
favour only where figures are given a feature.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load import frame, listens
from tests.ports import free_port
from tests.stack import eventually

BINARY = Path(__file__).parent / ".cerbos" / "package" / "cerbos-linux-x64"
CHECK_RESOURCES = "/cerbos.svc.v1.CerbosService/CheckResources"

_POLICY = """\
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  version: default
  resource: model
  rules:
  - actions: ["chat:completions", "chat:stream"]
    effect: EFFECT_ALLOW
    roles: [user]
    condition:
      match:
        expr: R.attr.name in ["gpt-4o", "gpt-4o-mini"]
  - actions: ["*"]
    effect: EFFECT_DENY
    roles: [user]
    condition:
      match:
        expr: "!(R.attr.provider in ['openai', 'anthropic'])"
"""

_CONFIG = """\
server: {{httpListenAddr: "127.0.0.1:{http}", grpcListenAddr: "127.0.0.1:{grpc}"}}
storage: {{driver: disk, disk: {{directory: {policies}, watchForChanges: false}}}}
telemetry: {{disabled: true}}
"""


@contextmanager
def cerbos(folder: Path) -> Iterator[tuple[int, str, Path, int] | None]:
    """Give (port, path, body, pid) of a running Cerbos; None if it is not installed."""
    if not BINARY.exists():
        print("no Cerbos to compare with: `make bench` installs it with npm")
        yield None
        return
    policies = folder / "policies"
    policies.mkdir()
    (policies / "model.yaml").write_text(_POLICY)
    port = free_port()
    config = folder / "cerbos.yaml"
    config.write_text(_CONFIG.format(http=free_port(), grpc=port, policies=policies))
    body = folder / "cerbos"
    body.write_bytes(frame(_request()))
    with (folder / "cerbos.log").open("wb") as log:
        process = subprocess.Popen(
            [BINARY, "server", f"--config={config}", "--log-level=error"], stdout=log, stderr=log
        )
        try:
            eventually(lambda: listens(port), "Cerbos listens")
            yield port, CHECK_RESOURCES, body, process.pid
        finally:
            process.terminate()
            process.wait()


def _request() -> bytes:
    """Return a CheckResourcesRequest: fields as in cerbos/request/v1/request.proto."""
    principal = _text(1, "key_1") + _text(3, "user")
    resource = (
        _text(1, "model") + _text(3, "gpt-4o")
        + _attribute("name", "gpt-4o") + _attribute("provider", "openai")
    )  # fmt: skip
    entry = _text(1, "chat:completions") + _field(2, resource)
    return _text(1, "r1") + _field(3, principal) + _field(4, entry)


def _attribute(name: str, value: str) -> bytes:
    return _field(4, _text(1, name) + _field(2, _text(3, value)))


def _text(number: int, value: str) -> bytes:
    return _field(number, value.encode())


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data
