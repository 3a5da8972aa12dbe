"""Redis servers of the tests' own: Debian's package, each in a folder and on a port of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.ports import free_port
from tests.stack import eventually

_QUICK = ("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")


class RedisServer:
    """A server on a port and a socket. `options` are as on its command line."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.socket = folder / "redis.sock"
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, over TCP."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def local_url(self) -> str:
        """Where it is, on the socket."""
        return f"unix://{self.socket}"

    def client(self, **options: Any) -> redis.Redis:
        """Return a client that waits."""
        return redis.Redis(unix_socket_path=str(self.socket), **options)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", _program("redis-server")),
                    *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                    *("--unixsocket", str(self.socket), "--daemonize", "no"),
                    *_QUICK,
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # On a busy machine it takes its time to read a long file.
        eventually(self._answers, "Redis answers", 120)

    def stop(self) -> None:
        """Kill it; what it has not written down is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let it stand still: connections live, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def flush(self) -> None:
        """Let it forget everything."""
        with self.client() as client:
            client.flushall()

    def _signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Give a server that runs, and is gone at the end."""
    # Not in pytest's folders: the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="pdp-redis-"))
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def running_sentinel(server: RedisServer, name: str) -> Iterator[int]:
    """Give the port of a Sentinel that knows a server by a name, and fails over at once."""
    folder, port = Path(tempfile.mkdtemp(prefix="pdp-sentinel-")), free_port()
    config = folder / "sentinel.conf"
    lines = (
        f"port {port}",
        f"dir {folder}",
        f"sentinel monitor {name} 127.0.0.1 {server.port} 1",
        f"sentinel down-after-milliseconds {name} 500",
    )
    config.write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", _program("redis-server"), config, "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        with redis.Redis(port=port) as client:
            eventually(lambda: _knows_a_replica(client, name), "the Sentinel knows the replica", 60)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _knows_a_replica(client: redis.Redis, name: str) -> bool:
    try:
        found: Any = client.sentinel_master(name)
    except redis.RedisError:
        return False
    return bool(found["num-slaves"])


class RedisCluster:
    """Three nodes that share the slots among them."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Where it is."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}"

    def flush(self) -> None:
        """Let every node forget everything."""
        for node in self.nodes:
            node.flush()


@contextmanager
def running_cluster() -> Iterator[RedisCluster]:
    """Give a Cluster of three nodes, gone at the end."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        nodes = []
        for _ in range(3):
            bus = ("--cluster-port", str(free_port()))
            nodes.append(stack.enter_context(running_redis(*options, *bus)))
        places = [f"127.0.0.1:{node.port}" for node in nodes]
        done = subprocess.run(
            [_program("redis-cli"), "--cluster", "create", *places, "--cluster-yes"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        eventually(lambda: all(map(_is_whole, nodes)), "the cluster is whole")
        yield RedisCluster(nodes)


def _is_whole(node: RedisServer) -> bool:
    with node.client() as client:
        found = client.execute_command("CLUSTER INFO")
        return bool(dict(found)["cluster_state"] == "ok")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail("Redis is missing: scripts/test-tools, or apt-get install redis-server")
    return found
