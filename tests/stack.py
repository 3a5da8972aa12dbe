"""A whole `pdp serve` in a folder of its own, for tests that need the real thing."""

import asyncio
import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests import commands
from tests.ports import free_port

DEADLINE = 60.0
"""Seconds: a busy machine is slow, not broken."""

_NOT_PASSED_ON = ("PDP_", "COVERAGE_")
"""Settings, and what would measure the lines of a process: that nearly doubles its start."""


def eventually(condition: Any, what: str, deadline: float = DEADLINE) -> Any:
    """Poll until `condition()` is truthy; return that."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline} s: {what}")


async def eventually_async(condition: Any, what: str, deadline: float = DEADLINE) -> Any:
    """Poll until `await condition()` is truthy; return that."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := await condition():
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {deadline} s: {what}")


class Stack:
    """A data dir with its settings, and the `pdp` commands in it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.grpc_port = free_port()
        self.ops_port = free_port()
        self.http_port = free_port()
        self.nginx_port = free_port()
        self.usage_port = free_port(socket.SOCK_DGRAM)
        self.log_path = folder / "serve.log"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED_ON)
        } | {
            "PDP_DATA_DIR": str(self.data_dir),
            "PDP_GRPC_LISTEN": f"127.0.0.1:{self.grpc_port}",
            "PDP_OPS_LISTEN": f"127.0.0.1:{self.ops_port}",
            "PDP_HTTP_LISTEN": f"127.0.0.1:{self.http_port}",
            "PDP_NGINX_LISTEN": f"127.0.0.1:{self.nginx_port}",
            "PDP_NGINX_USAGE_LISTEN": f"127.0.0.1:{self.usage_port}",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.arguments: tuple[str, ...] = ()
        """Of `pdp serve`."""
        self.root: dict[str, str] = {}

    # -- Commands

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `pdp ARGUMENTS` to its end."""
        return commands.run(arguments, self.environment, stdin)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        """Run a command that prints JSON and succeeds."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def init(self) -> dict[str, str]:
        """Make the organization; remember its root key."""
        self.root = self.json("init")
        return self.root

    def init_by_copy(self) -> dict[str, str]:
        """Be as after `init`: take a copy of what that has made once."""
        own = {"PDP_DATABASE_URL", "PDP_KEY_PEPPER"} & self.environment.keys()
        assert not own, f"a copy has no {own}"
        if not _initialized:
            folder = tempfile.TemporaryDirectory(prefix="pdp-initialized-")
            atexit.register(folder.cleanup)
            template = Stack(Path(folder.name))
            template.init()
            _initialized.append(template)
        shutil.copytree(_initialized[0].data_dir, self.data_dir, dirs_exist_ok=True)
        self.root = {**_initialized[0].root}
        return self.root

    def create_key(self, **document: Any) -> dict[str, Any]:
        """Create a key from a REST create body."""
        created: dict[str, Any] = self.json(
            "keys", "create", "--file", "-", stdin=json.dumps({"name": "test", **document})
        )
        return created

    def audit(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Return audit entries, newest first."""
        entries: list[dict[str, Any]] = self.json("audit", "--limit", str(limit))["logs"]
        return entries

    def entry(self, request_id: str) -> dict[str, Any]:
        """Return the audit entry of a request once the ledger has it."""
        found: list[dict[str, Any]] = eventually(
            lambda: self.json("audit", "--request-id", request_id)["logs"],
            f"the ledger has {request_id}",
        )
        return found[0]

    def settle(self, deadline: float = DEADLINE) -> None:
        """Wait until the ledger has every record."""
        eventually(
            lambda: "\npdp_spool_records 0.0\n" in self.get("/metrics")[1],
            "the ledger has every record",
            deadline,
        )

    # -- The server

    def start(self) -> None:
        """Start `pdp serve` and wait until it is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start `pdp serve` without waiting."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pdp", "serve", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_ready(self) -> None:
        """Wait for `/readyz`."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            return self.get("/readyz")[0] == 200

        try:
            eventually(ready, "pdp serve is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from error

    def log(self) -> str:
        """Return what the server has logged."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def get(self, path: str) -> tuple[int, str]:
        """Return (status, body) of the ops port; status 0: nobody there."""
        try:
            url = f"http://127.0.0.1:{self.ops_port}{path}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def child_pid(self, plane: str) -> int:
        """Return the pid of a plane, 0 if it does not run."""
        return next(iter(self.child_pids(plane)), 0)

    def child_pids(self, plane: str) -> list[int]:
        """Return the pids of all processes of a plane."""
        assert self.process is not None
        found = []
        for pid in _children(self.process.pid):
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"pdp.serve.child" in arguments and plane.encode() in arguments:
                found.append(pid)
        return found

    def kill(self, plane: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a plane; return its pid."""
        pid = eventually(lambda: self.child_pid(plane), f"the {plane} plane runs")
        os.kill(pid, number)
        return int(pid)

    def kill_supervisor(self) -> None:
        """kill -9 the supervisor and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop gracefully; return the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"pdp serve does not stop\n{self.log()}") from None
        self.process = None
        return status

    # -- Clients

    def channel(self) -> grpc.aio.Channel:
        """Return a channel to the data plane."""
        return grpc.aio.insecure_channel(
            f"127.0.0.1:{self.grpc_port}",
            options=(
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 100),
            ),
        )

    async def check(self, api_key: str, **fields: Any) -> pb.CheckResponse:
        """Check once over a connection of its own."""
        async with self.channel() as channel:
            return await check(channel, api_key, **fields)


async def check(channel: grpc.aio.Channel, api_key: str, **fields: Any) -> pb.CheckResponse:
    """Check a chat completion with gpt-4o, unless `fields` say otherwise."""
    fields = {"action": "chat:completions", "model": "gpt-4o", **fields}
    stub = pb_grpc.PolicyDecisionServiceStub(channel)
    answer: pb.CheckResponse = await stub.Check(
        pb.CheckRequest(api_key=api_key, **fields), timeout=30, wait_for_ready=True
    )
    return answer


async def report(channel: grpc.aio.Channel, *usages: Mapping[str, Any]) -> pb.ReportResponse:
    """Report usages; each succeeds unless it says otherwise."""
    stub = pb_grpc.PolicyDecisionServiceStub(channel)
    answer: pb.ReportResponse = await stub.Report(
        pb.ReportRequest(usages=[pb.Usage(**{"status": "success", **usage}) for usage in usages]),
        timeout=30,
        wait_for_ready=True,
    )
    return answer


async def stops_within_a_second(control: Stack, channel: grpc.aio.Channel) -> None:
    """See that a key which is revoked is refused a second later, at least now and then.

    A busy machine may be late with one of them; a defect is late with all.
    """

    async def stops() -> bool:
        key = control.create_key()

        async def refused() -> bool:
            return (await check(channel, key["api_key"])).reason == "key_revoked"

        assert (await check(channel, key["api_key"])).reason == "ok"
        assert control.run("keys", "revoke", key["id"]).returncode == 0
        revoked = time.monotonic()
        await eventually_async(refused, "the key is refused")
        return time.monotonic() - revoked < 1.0

    await eventually_async(stops, "a key that is refused within a second")


_initialized: list[Stack] = []


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Stack]:
    """Give an initialized, running stack."""
    stack = Stack(folder, **settings)
    stack.init_by_copy()
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
