"""What lies in the folder of a log: the log itself, and what rotation has made of older ones."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from msgspec import Struct

from adapters.nginx.usage.place import START

_PACKED: Final = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".z", ".tmp")


class Sibling(Struct, frozen=True):
    """A file: `usage.log`, `usage.log.1`, `usage.log-20261128`; `head` are its first bytes."""

    path: Path
    inode: int
    size: int
    head: bytes


def siblings_of(log: Path) -> list[Sibling]:
    """Return the files whose names begin with the log's.

    Packed ones are left out: who packs them a minute after rotation or later loses nothing.
    Raises `OSError`, also when the log itself cannot be read.
    """
    found = []
    with os.scandir(log.parent) as entries:
        for entry in entries:
            if entry.name.startswith(log.name) and not entry.name.lower().endswith(_PACKED):
                path = Path(entry.path)
                try:
                    found.append(_look_at(path))
                except FileNotFoundError:
                    continue
                except OSError:
                    if path == log:
                        raise
    return found


def _look_at(path: Path) -> Sibling:
    """Return what a file is. Raises `OSError`, also if it is no regular one."""
    fd = open_log(path)
    try:
        found = os.fstat(fd)
        return Sibling(path, found.st_ino, found.st_size, os.pread(fd, START, 0))
    finally:
        os.close(fd)


def open_log(path: Path) -> int:
    """Open a file for reading. Raises `OSError`, also if it is no regular one."""
    # A fifo would block until somebody writes.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is not a regular file")
    return fd
