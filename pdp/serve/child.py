"""The process of one plane: `python -m pdp.serve.child PLANE PARENT_PID READY_FD LOG_FD [N OF]`.

`N OF`: which of several data planes it is. Its stderr is a pipe, for what libraries write
there by themselves; its log goes to LOG_FD.
"""

import sys

if __name__ == "__main__":
    # structlog imports rich where it is there, for tracebacks that we forgo: 20 ms of every
    # start and 3 MB of each plane.
    sys.modules["rich"] = None  # type: ignore[assignment]

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from functools import partial

import uvloop

from pdp.errors import StartRefused
from pdp.seat import Seat
from pdp.serve.leash import die_with
from pdp.serve.logs import configure_logging
from pdp.serve.supervisor import READY, REFUSAL, REFUSED
from pdp.settings import Settings, load_settings

_CONTROL_NICENESS = 10
"""Where both planes want the last core, a Check goes before the ledger."""


_FILES = 65_536
"""A connection has one, with TLS three, and takes some 35 kB of memory: so there is an end."""

_YOUNG = 20_000
"""Objects more than were freed, before the collector looks at those."""


async def _run(plane: str, settings: Settings, ready_fd: int, seat: Seat) -> None:
    run: Callable[[Settings, asyncio.Event, Callable[[], None]], Awaitable[None]]
    # Imported late: one plane does not load the other's libraries.
    if plane == "data":
        calm_collector()
        from pdp.app.data import run_data_plane

        run = partial(run_data_plane, seat=seat)
    else:
        from pdp.app.control import run_control_plane as run
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready() -> None:
        os.write(ready_fd, READY)

    await run(settings, stop, ready)


def calm_collector() -> None:
    """Let the garbage collector look seldom: it looks at every key in the cache, too.

    So whatever is large must be freed by its reference count; the young that make cycles
    (tasks, tracebacks) are few.
    """
    gc.set_threshold(_YOUNG, 20, 100)


def take_files(wanted: int) -> None:
    """Raise the soft limit of open files, usually 1024, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised(soft, hard, wanted), hard))


def raised(soft: int, hard: int, wanted: int) -> int:
    """Return the soft limit to set, never a lower one; either may be `RLIM_INFINITY`."""
    if soft == resource.RLIM_INFINITY:
        return soft
    return max(soft, wanted if hard == resource.RLIM_INFINITY else min(hard, wanted))


def main(arguments: list[str]) -> int:
    """Run a plane to its end; return the exit status."""
    plane, parent, ready_fd = arguments[0], int(arguments[1]), int(arguments[2])
    seat = Seat(*map(int, arguments[4:6]))
    die_with(parent)
    take_files(_FILES)
    sys.stderr = os.fdopen(int(arguments[3]), "w", errors="backslashreplace", buffering=1)
    if plane == "control":
        os.nice(_CONTROL_NICENESS)
    try:
        settings = load_settings()
        configure_logging(settings.log_level, plane, seat.number if seat.is_shared else None)
        uvloop.run(_run(plane, settings, ready_fd, seat))
    except StartRefused as error:
        os.write(ready_fd, REFUSAL + str(error).encode())
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
