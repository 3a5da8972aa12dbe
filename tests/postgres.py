"""A PostgreSQL server of the tests' own: Debian's package, in a folder and on a port of its own."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.ports import free_port
from tests.stack import eventually

_USER = "postgres"
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off")
"""What makes it quick: a server of tests has nothing to lose in a power cut."""


class Postgres:
    """A server with one superuser, who needs a password over TCP and none on the socket."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._folder = folder
        self._programs = _programs()
        self._process: subprocess.Popen[bytes] | None = None
        words = folder / "password"
        words.write_text(self.password)
        if os.geteuid() == 0:
            for each in (folder, words):
                shutil.chown(each, _USER)
        self._run(
            *("initdb", "--pgdata", str(folder / "data"), "--username", "pdp", "--no-sync"),
            *("--auth-local", "trust", "--auth-host", "scram-sha-256", "--pwfile", str(words)),
            *("--encoding", "UTF8", "--no-locale", "--no-instructions"),
        )

    def url(self, name: str) -> str:
        """Return the address of a database, with the password."""
        return f"postgresql://pdp:{self.password}@127.0.0.1:{self.port}/{name}"

    def local_url(self, name: str) -> str:
        """Return the address of a database on the socket: quicker."""
        return f"postgresql://pdp@/{name}?host={self._folder}&port={self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [word for each in _QUICK for word in ("-c", each)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_user("--pdeathsig", "QUIT"),
                    *(str(self._programs / "postgres"), "-D", str(self._folder / "data")),
                    *("-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder)),
                    *settings,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "PostgreSQL answers")

    def stop(self) -> None:
        """Stop at once, as in a crash: every connection breaks."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def freeze(self) -> None:
        """Let every process of the server stand still: connections live, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    async def make(self, name: str, template: str = "template1") -> None:
        """Make a database as a copy of another."""
        # Copying files is quicker than writing a log of them.
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')

    async def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        await self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def execute(self, statement: str, name: str = "postgres") -> None:
        """Run a statement in a database."""
        connection = await asyncpg.connect(self.local_url(name))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        asking = [str(self._programs / "pg_isready"), "-q", "-h", str(self._folder)]
        return subprocess.run([*asking, "-p", str(self.port)], check=False).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_user(), str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Give a server that runs, and is gone at the end."""
    # Not in pytest's folders: they are for their owner alone, and the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="pdp-pg-", dir=_memory()))
    try:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _memory() -> str | None:
    """Return a folder in memory, if there is one: a database of a test is 7 MB of files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _programs() -> Path:
    """Return the folder of the newest PostgreSQL there is; Debian puts none in the PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if not found:
        pytest.fail("PostgreSQL is missing: scripts/test-tools, or apt-get install postgresql")
    return found[-1].parent


def _as_user(*options: str) -> list[str]:
    """Return what starts a program as somebody else than root, which the server would refuse."""
    if os.geteuid() != 0:
        return ["setpriv", *options] if options else []
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *options]
