"""What must not start says why in one line, and its status is not 0."""

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import Stack


def refused(stack: Stack, *arguments: str) -> str:
    """Run `pdp serve` to its refusal; return the one line it gives as its reason."""
    done = subprocess.run(
        [sys.executable, "-m", "pdp", "serve", *arguments],
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
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
        ("PDP_REDIS_URL", "redis://127.0.0.1:1"),
        ("PDP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x"),
        ("PDP_DATABASE_URL", "no url"),
        ("PDP_PRICES_FILE", "/nowhere/prices.json"),
    ],
)
def test_a_wrong_setting_is_named(stack: Stack, name: str, value: str) -> None:
    stack.environment[name] = value
    assert name in refused(stack)


@pytest.mark.parametrize("name", ["PDP_GRPC_LISTEN", "PDP_OPS_LISTEN"])
@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_port_in_use_is_named(stack: Stack, name: str, transport: str) -> None:
    stack.environment["PDP_GRPC_TRANSPORT"] = transport
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stack.environment[name] = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused(stack)
    assert name in line
    assert "in use" in line


def test_off_loopback_a_caller_token_is_needed(stack: Stack) -> None:
    stack.environment["PDP_GRPC_LISTEN"] = f"0.0.0.0:{stack.grpc_port}"
    assert "PDP_CALLER_TOKEN" in refused(stack)


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


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A folder to mount on, unmounted at the end."""
    if os.geteuid() != 0:
        pytest.fail("needs root to mount: run the tests as root, or in a container")
    folder = tmp_path / "mounted"
    folder.mkdir()
    return folder


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
        with (mounted / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 4096) == 4096:
                    pass
            except OSError:
                pass
        line = refused(stack)
        assert "space" in line
    finally:
        subprocess.run(["umount", mounted], check=True)
