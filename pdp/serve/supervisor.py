"""`pdp serve`: starts the planes, restarts a dead process, stops them in order.

The children die with this process whatever kills it (pdp/serve/child.py asks
the kernel for that), so that the next start finds ports and spool free.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from time import monotonic
from typing import IO, Final, Literal, Protocol

import structlog

from pdp.errors import StartRefused
from pdp.serve.foreign import ForeignLines, hear
from pdp.temporary import short_folder

_log = structlog.get_logger(__name__)

Plane = Literal["control", "data"]

REFUSED: Final = 78
"""Exit status of a child that must not start as configured (EX_CONFIG of sysexits.h)."""

READY: Final = b"1"
REFUSAL: Final = b"!"
"""First byte of what a child says on its pipe; a refusal's one line follows."""

_STOP_DEADLINE = 10.0
_FIRST_DELAY, _MAX_DELAY = 0.1, 5.0
_HEALTHY_AFTER = 10.0


class Beside(Protocol):
    """What runs in the supervisor itself."""

    def start(self) -> None:
        """Run in the background."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class Child:
    """One plane, or a worker of it: its process, and whether it has ever been ready.

    `worker`: which of `of` data planes it is, from 1.
    """

    def __init__(
        self, plane: Plane, environment: Mapping[str, str], worker: int = 1, of: int = 1
    ) -> None:
        self.plane = plane
        self.worker = worker
        self._of = of
        # The data plane has no SQL, and no credentials to any.
        hidden = ("PDP_DATABASE_URL",) if plane == "data" else ()
        self._environment = {name: environment[name] for name in environment if name not in hidden}
        self.process: Process | None = None
        self.ready = asyncio.Event()
        self.is_ready = False
        """Whether the process that runs now is."""
        self.lives = 0
        """How many processes there have been."""
        self._refusal = ""
        self._delay = _FIRST_DELAY

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the plane running until `stopping`; raises `StartRefused` if it cannot start."""
        while not stopping.is_set():
            started = monotonic()
            status: int | None = None
            try:
                status = await self._run_once(stopping)
            except OSError as error:  # The others go on, and there may be room again soon.
                self._refusal = f"no process can be made: {error}"
            if stopping.is_set():
                return
            if status == REFUSED and not self.ready.is_set():
                raise StartRefused(self._refusal or f"the {self.plane} plane cannot start")
            if monotonic() - started > _HEALTHY_AFTER:
                self._delay = _FIRST_DELAY
            _log.error(
                "plane died, starting it again",
                plane=self.plane,
                **({"worker": self.worker} if self._of > 1 else {}),
                status=status,
                reason=self._refusal or None,
                delay_seconds=self._delay,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._delay):
                    await stopping.wait()
            self._delay = min(self._delay * 2, _MAX_DELAY)

    async def _run_once(self, stopping: asyncio.Event) -> int:
        self._refusal = ""
        self.lives += 1
        # Libraries keep sockets there, and one that is killed takes nothing away.
        with TemporaryDirectory("", "pdp-", short_folder(), ignore_cleanup_errors=True) as folder:
            environment = {**self._environment, "TMPDIR": folder}
            readable, writable = os.pipe()
            with os.fdopen(readable, "rb", buffering=0) as said:
                try:
                    process = await self._begin(environment, writable)
                finally:
                    os.close(writable)
                return await self._see_through(process, said, stopping)

    async def _begin(self, environment: Mapping[str, str], writable: int) -> Process:
        """Start a process, which tells us what it has to say by `writable`."""
        log = os.dup(sys.stderr.fileno())
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pdp.serve.child",
                self.plane,
                str(os.getpid()),
                str(writable),
                str(log),
                str(self.worker),
                str(self._of),
                env=environment,
                pass_fds=(writable, log),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,  # What is not of its log, but of libraries.
                # Ctrl-C is for this process; it stops the children in order.
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _see_through(self, process: Process, said: IO[bytes], stopping: asyncio.Event) -> int:
        """Listen to a process until it ends; return its status."""
        assert process.stderr is not None, "it is a pipe"
        self.process = process
        hearing = asyncio.create_task(hear(process.stderr, ForeignLines(self.plane)))
        watching = asyncio.create_task(self._listen(said))
        if stopping.is_set():  # It came while the process was made, and found none to stop.
            process.terminate()
        status = await process.wait()
        self.is_ready = False
        await asyncio.gather(watching, hearing)
        self.is_ready = False  # It may have said so last of all.
        return status

    async def _listen(self, said: IO[bytes]) -> None:
        """Hear from the child that it is ready, or why it must not start."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), said
        )
        try:
            if await reader.read(1) == READY:
                self.is_ready = True
                self.ready.set()
            self._refusal = (await reader.read()).decode()
        finally:
            transport.close()

    async def stop(self) -> None:
        """Ask the process to finish, and end it if it does not."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_DEADLINE):
                await process.wait()
        except TimeoutError:
            _log.error("plane does not stop, killing it", plane=self.plane)
            process.kill()
            await process.wait()


class Supervisor:
    """Runs the given planes, and logs `ready` once all of them have been able to work."""

    def __init__(
        self, planes: Sequence[Plane], environment: Mapping[str, str], workers: int = 1
    ) -> None:
        self._control = [Child(each, environment) for each in planes if each == "control"]
        self.workers = [
            Child("data", environment, number, workers)
            for number in range(1, workers + 1)
            if "data" in planes
        ]
        self._children = [*self._control, *self.workers]
        self._stopping = asyncio.Event()

    async def run(self, where: Mapping[str, object], beside: Sequence[Beside] = ()) -> None:
        """Run until SIGTERM or SIGINT; raises `StartRefused` if a plane cannot start."""
        for each in beside:
            each.start()
        try:
            await self._run(where)
        finally:
            await asyncio.gather(*(each.stop() for each in beside))

    async def _run(self, where: Mapping[str, object]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        tasks = [asyncio.create_task(child.run(self._stopping)) for child in self._children]
        announcing = asyncio.create_task(self._announce(where))
        try:
            stopping = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for task in done - {stopping}:
                task.result()
        finally:
            announcing.cancel()
            self._stopping.set()
            _log.info("stopping")
            await self._stop()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _announce(self, where: Mapping[str, object]) -> None:
        await asyncio.gather(*(child.ready.wait() for child in self._children))
        _log.info("ready", **where)

    async def _stop(self) -> None:
        """Stop data planes first: their last records still go to the control plane."""
        for children in (self.workers, self._control):
            await asyncio.gather(*(child.stop() for child in children))
