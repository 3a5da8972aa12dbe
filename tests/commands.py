"""`pdp` commands in processes of their own, each forked from one that has imported all they need.

Most of a short command's time goes into imports; a suite runs hundreds of them.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, NamedTuple, NoReturn

from pdp.cli import main

_MOST_BYTES = 1 << 20
_PRELOADED = (
    "pdp.cli.commands",
    "pdp.control.audit",
    "pdp.control.initialize",
    "pdp.control.plane",
    "pdp.control.prices",
    "pdp.control.usage",
    "pdp.data.control",
    "pdp.spool.status",
    "pdp.store.migrate",
    "rich.markup",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)


class _Started(NamedTuple):
    pid: int
    told: int
    """Where its exit status is written to."""


class Commands:
    """Runs commands; what it starts for that ends with this process."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        # Coverage is for what runs in the process of a test.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.commands", str(number)],
                cwd=Path(__file__).parents[1],
                env=environment,
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
            )

    def close(self) -> None:
        """End what was started to start commands."""
        self._line.close()
        self._server.wait()

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run `pdp ARGUMENTS` to its end."""
        request = {"arguments": arguments, "environment": environment, "folder": str(Path.cwd())}
        hear, tell = os.pipe()
        with (
            os.fdopen(hear, "rb") as heard,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            try:
                given.write((stdin or "").encode())
                given.seek(0)
                fds = [given.fileno(), out.fileno(), err.fileno(), tell]
                socket.send_fds(self._line, [json.dumps(request).encode()], fds)
            finally:
                os.close(tell)
            status = _status(heard, ["pdp", *arguments], timeout)
            return subprocess.CompletedProcess(arguments, status, _text(out), _text(err))


def _status(heard: IO[bytes], command: list[str], timeout: float) -> int:
    pid = int(heard.readline())
    if not select.select([heard], [], [], timeout)[0]:
        os.kill(pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(command, timeout)
    return int(heard.readline())


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


_commands: list[Commands] = []
_lock = threading.Lock()


def run(
    arguments: Sequence[str], environment: Mapping[str, str], stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `pdp ARGUMENTS` to its end, within a minute."""
    with _lock:
        if not _commands:
            _commands.append(Commands())
            atexit.register(_commands[0].close)
    return _commands[0].run(arguments, environment, stdin)


# -- In the process that starts them


def _serve(line: socket.socket) -> None:
    """Start what is asked for until nobody asks any more."""
    for module in _PRELOADED:
        import_module(module)
    gc.freeze()
    selector = DefaultSelector()
    selector.register(line, EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                _tell_end(key.data)
                selector.unregister(key.fd)
                os.close(key.fd)
                continue
            asked, fds, _, _ = socket.recv_fds(line, _MOST_BYTES, 4)
            if not asked:
                return
            pid = os.fork()
            if not pid:
                line.close()
                selector.close()
                _become(asked, fds)
            os.write(fds[3], b"%d\n" % pid)
            for each in fds[:3]:
                os.close(each)
            selector.register(os.pidfd_open(pid), EVENT_READ, _Started(pid, fds[3]))


def _tell_end(started: _Started) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])
    os.write(started.told, b"%d\n" % status)
    os.close(started.told)


def _become(asked: bytes, fds: Sequence[int]) -> NoReturn:
    """Be the command."""
    request = json.loads(asked)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["pdp", *request["arguments"]]
    main()
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
