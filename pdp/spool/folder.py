"""The folder of a spool: whose it is, and that it can be written."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from pdp.errors import StartRefused

_RETRY: Final = 0.05
_PROBE: Final = b"\0" * 65536


class FolderLock:
    """An exclusive lock on a folder; the kernel lets it go when the process dies."""

    def __init__(self, directory: Path, name: str = "lock") -> None:
        self._path = directory / name
        self._fd = -1

    def acquire(self, wait: float) -> bool:
        """Take the lock, trying for `wait` seconds: a killed owner may still be dying."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    os.close(fd)
                    return False
                time.sleep(_RETRY)
            else:
                self._fd = fd
                return True

    def release(self) -> None:
        """Let the lock go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def prepare(directory: Path) -> None:
    """Make the folder if it is not there, and see that there is room to write. Raises `OSError`."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    probe = directory / "probe"
    try:
        probe.write_bytes(_PROBE)
    finally:
        probe.unlink(missing_ok=True)


def spool_id_of(directory: Path, new: str, *, fresh: bool) -> str:
    """Return the id of the spool; a `fresh` one gets `new`. Raises `OSError`, `StartRefused`."""
    path = directory / "spool_id"
    if path.exists() and (spool_id := path.read_text("ascii").strip()):
        return spool_id
    if not fresh:
        raise StartRefused(f"{path} is missing beside its records: restore it from a backup")
    write_atomically(path, new.encode("ascii"))
    return new


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make what is in a file survive a power cut."""
    _sync(path, os.O_RDONLY)


def sync_folder(directory: Path) -> None:
    """Make renames and new files in a folder survive a power cut."""
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
