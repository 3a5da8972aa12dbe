"""What must not start says why in one line, and its status is not 0."""

import asyncio
import shutil
import socket
import sqlite3
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.e2e.conftest import fill
from tests.pki import Authority
from tests.stack import DEADLINE, Stack, eventually


def refused(stack: Stack, *arguments: str) -> str:
    """Run `pdp serve` to its refusal; return the one line it gives as its reason."""
    done = stack.run("serve", *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("pdp: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PDP_WORKERS", "many"),
        ("PDP_WORKERS", "0"),
        ("PDP_WORKERS", "2"),
        ("PDP_BUDGET_STATUS", "500"),
        ("PDP_GRPC_TRANSPORT", "pigeon"),
        ("PDP_KEY_PEPPER", "short"),
        ("PDP_MAX_STALENESS", "-1"),
        ("PDP_GRPC_LISTEN", "nowhere"),
        ("PDP_GRPC_LISTEN", "127.0.0.1:99999"),
        ("PDP_OPS_LISTEN", "127.0.0.1:http"),
        ("PDP_HTTP_LISTEN", "8080"),
        ("PDP_NGINX_LISTEN", "9292"),
        ("PDP_NGINX_MAX_BODY", "8m"),
        ("PDP_HTTP_TRUSTED_HOPS", "-1"),
        ("PDP_REDIS_URL", "redis://127.0.0.1:1"),
        ("PDP_REDIS_URL", "http://127.0.0.1:1"),
        ("PDP_REDIS_DEADLINE", "0"),
        ("PDP_ON_BACKEND_ERROR", "maybe"),
        ("PDP_RECONCILE", "maybe"),
        ("PDP_DATABASE_URL", "mysql://nobody@127.0.0.1:1/x"),
        ("PDP_DATABASE_URL", "no url"),
        ("PDP_PRICES_FILE", "/nowhere/prices.json"),
        ("PDP_CALLER_TOKEN", ""),
        ("PDP_CALLER_TOKEN", "short"),
        ("PDP_MAX_STALENESS", "inf"),
        ("PDP_HOLD_TTL", "1e11"),
        ("PDP_HOLD_TTL", "nan"),
        ("PDP_CONTROL_URL", "nowhere"),
    ],
)
def test_a_wrong_setting_is_named(stack: Stack, name: str, value: str) -> None:
    stack.environment[name] = value
    assert name in refused(stack)


def test_a_server_where_nobody_is_is_named_without_its_password(stack: Stack) -> None:
    stack.environment["PDP_DATABASE_URL"] = "postgresql://nobody:hush-hush@127.0.0.1:1/x"
    assert "PDP_KEY_PEPPER: needed with PostgreSQL" in refused(stack)
    assert "PDP_KEY_PEPPER: needed with PostgreSQL" in stack.run("keys", "list").stderr
    stack.environment["PDP_KEY_PEPPER"] = "the pepper of this test, and of no other"
    line = refused(stack)
    assert "PDP_DATABASE_URL: `127.0.0.1:1/x`: the database does not answer" in line
    assert "hush" not in line


@pytest.mark.parametrize(
    ("name", "transport"),
    [
        ("PDP_GRPC_LISTEN", "native"),
        ("PDP_GRPC_LISTEN", "grpcio"),
        ("PDP_OPS_LISTEN", "native"),
        ("PDP_HTTP_LISTEN", "native"),
        ("PDP_NGINX_LISTEN", "native"),
    ],
)
def test_a_port_in_use_is_named(stack: Stack, name: str, transport: str) -> None:
    stack.environment["PDP_GRPC_TRANSPORT"] = transport
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stack.environment[name] = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused(stack)
    assert name in line
    assert "in use" in line


@pytest.mark.parametrize("name", ["PDP_GRPC_LISTEN", "PDP_NGINX_LISTEN"])
def test_off_loopback_a_caller_token_is_needed(stack: Stack, name: str) -> None:
    stack.environment[name] = f"0.0.0.0:{stack.grpc_port}"
    line = refused(stack)
    assert "PDP_CALLER_TOKEN" in line
    assert name in line


def test_half_of_tls_and_what_it_lacks_are_named(stack: Stack, tmp_path: Path) -> None:
    shown = Authority(tmp_path).issue("server", "127.0.0.1")
    stack.environment["PDP_TLS_CERT"] = str(shown.cert)
    assert "PDP_TLS_KEY: needed because PDP_TLS_CERT is set" in refused(stack)
    given = ("--tls-key", str(shown.key))
    stack.environment["PDP_GRPC_LISTEN"] = f"0.0.0.0:{stack.grpc_port}"
    assert "PDP_CALLER_TOKEN: needed because PDP_GRPC_LISTEN" in refused(stack, *given)


def test_planes_do_not_meet_in_the_open(stack: Stack, tmp_path: Path) -> None:
    line = refused(stack, "--plane", "control", "--control-listen", "0.0.0.0:0")
    assert "PDP_CONTROL_LISTEN: `0.0.0.0:0` can be reached from elsewhere" in line
    line = refused(stack, "--plane", "data", "--control-url", "127.example:9300")
    assert "PDP_CONTROL_URL: `127.example:9300` can be reached from elsewhere" in line
    old = Authority(tmp_path).issue("old", ends=-timedelta(days=1))
    given = (*("--control-tls-cert", str(old.cert)), *("--control-tls-key", str(old.key)))
    remote = ("--control-url", "control.example:9300", "--control-tls-ca", str(old.cert))
    assert "PDP_CONTROL_TLS_CERT: `" in refused(stack, "--plane", "data", *remote, *given)


def test_a_file_in_the_place_of_a_socket_is_left_alone(stack: Stack, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    for name in (
        "PDP_OPS_LISTEN",
        "PDP_GRPC_LISTEN",
        "PDP_CONTROL_LISTEN",
        "PDP_HTTP_LISTEN",
        "PDP_NGINX_LISTEN",
    ):
        before = stack.environment.get(name)
        stack.environment[name] = f"unix:{precious}"
        assert name in refused(stack)
        assert precious.read_text() == "mine"
        stack.environment.pop(name)
        if before:
            stack.environment[name] = before


def test_a_socket_that_somebody_answers_on_is_left_alone(stack: Stack, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "taken.sock"))
        taken.listen()
        stack.environment["PDP_OPS_LISTEN"] = f"unix:{tmp_path}/taken.sock"
        line = refused(stack)
    assert "PDP_OPS_LISTEN" in line
    assert "in use" in line


def test_a_data_plane_alone_needs_a_pepper_and_the_control_planes(
    stack: Stack, tmp_path: Path
) -> None:
    stack.start()
    alone = Stack(tmp_path / "alone")
    alone.folder.mkdir()
    alone.environment["PDP_CONTROL_URL"] = f"unix:{stack.data_dir}/control.sock"
    assert "PDP_KEY_PEPPER" in refused(alone, "--plane", "data")
    alone.environment["PDP_KEY_PEPPER"] = "another pepper than the control plane has"
    assert "not the control plane's" in refused(alone, "--plane", "data")


def test_an_old_copy_of_the_spool_is_refused(stack: Stack) -> None:
    key = stack.create_key()
    spool, copy = stack.data_dir / "spool", stack.folder / "copy"
    stack.start()
    asyncio.run(stack.check(key["api_key"]))
    stack.stop()
    shutil.copytree(spool, copy)
    stack.start()
    asyncio.run(stack.check(key["api_key"]))
    eventually(lambda: len(stack.audit()) >= 4, "the ledger has both")
    stack.stop()
    shutil.rmtree(spool)
    shutil.copytree(copy, spool)
    stack.launch()
    answers = asyncio.run(_answers_until_the_end(stack, key["api_key"]))
    assert answers <= {"", "unavailable"}
    assert stack.process is not None
    assert stack.process.returncode != 0
    assert "old copy" in stack.log()


async def _answers_until_the_end(stack: Stack, api_key: str) -> set[str]:
    """Check without a pause until the server has ended; return the reasons it gave."""
    found: set[str] = set()
    end = time.monotonic() + DEADLINE
    async with stack.channel() as channel:
        stub = pb_grpc.PolicyDecisionServiceStub(channel)
        request = pb.CheckRequest(api_key=api_key, action="chat:completions", model="gpt-4o")
        while stack.process is not None and stack.process.poll() is None:
            assert time.monotonic() < end, stack.log()
            try:
                found.add((await stub.Check(request, timeout=0.2)).reason)
            except grpc.aio.AioRpcError:
                found.add("")
                await asyncio.sleep(0.01)
    return found


def test_a_second_serve_on_the_same_data_is_refused(stack: Stack) -> None:
    stack.start()
    second = Stack(stack.folder)
    assert str(stack.data_dir) in refused(second)


def test_a_database_from_the_future_is_left_alone(stack: Stack) -> None:
    (database,) = stack.data_dir.glob("*.db")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'f00dfeed'")
    connection.close()
    assert "f00dfeed" in refused(stack)


def test_a_file_that_is_no_database_is_left_alone(stack: Stack) -> None:
    (database,) = stack.data_dir.glob("*.db")
    database.write_bytes(b"this is my diary\n" * 500)
    assert database.name in refused(stack)
    assert database.read_bytes().startswith(b"this is my diary")


def test_another_pepper_is_refused(stack: Stack) -> None:
    stack.environment["PDP_KEY_PEPPER"] = "x" * 40
    assert "PDP_KEY_PEPPER" in refused(stack)


def test_a_read_only_data_dir_is_named(mounted: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", mounted], check=True)
    try:
        stack = Stack(mounted)
        assert str(mounted) in refused(stack)
        done = stack.run("init")
        assert done.returncode != 0
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_a_full_disk_is_named(mounted: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=True)
    try:
        stack = Stack(mounted)
        stack.init()
        fill(mounted / "ballast")
        line = refused(stack)
        assert "space" in line
    finally:
        subprocess.run(["umount", mounted], check=True)
