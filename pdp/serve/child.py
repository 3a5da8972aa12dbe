"""The process of one plane: `python -m pdp.serve.child PLANE PARENT_PID READY_FD`."""

import asyncio
import ctypes
import os
import signal
import sys

import uvloop

from pdp.errors import StartRefused
from pdp.serve.logs import configure_logging
from pdp.serve.supervisor import READY, REFUSAL, REFUSED
from pdp.settings import Settings, load_settings

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, however that happens."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # It died before we asked.
        sys.exit(1)


async def _run(plane: str, settings: Settings, ready_fd: int) -> None:
    # Imported late: one plane does not load the other's libraries.
    if plane == "data":
        from pdp.app.data import run_data_plane as run
    else:
        from pdp.app.control import run_control_plane as run
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def ready() -> None:
        os.write(ready_fd, READY)

    await run(settings, stop, ready)


def main(arguments: list[str]) -> int:
    """Run a plane to its end; return the exit status."""
    plane, parent, ready_fd = arguments[0], int(arguments[1]), int(arguments[2])
    die_with(parent)
    try:
        settings = load_settings()
        configure_logging(settings.log_level, plane)
        uvloop.run(_run(plane, settings, ready_fd))
    except StartRefused as error:
        os.write(ready_fd, REFUSAL + str(error).encode())
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
