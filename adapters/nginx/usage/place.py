"""How far files have been read, so that a restart goes on there."""

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from pdp.spool.folder import write_atomically

START: Final = 512
"""Bytes at the beginning of a file that tell it from others: no two lines are alike."""

_VERSION: Final = 1


class Place(Struct, frozen=True):
    """A file, by its inode and its first bytes, and up to where its lines were taken.

    `start` are the first `START` bytes, or `offset` of them if that is less. `skipping`: the
    offset is within a line that is too long. `done`: it is read no more.
    """

    inode: int
    offset: int
    start: bytes
    skipping: bool = False
    done: bool = False

    def is_of(self, head: bytes) -> bool:
        """Tell whether a file that begins with `head` (`START` bytes of it) has this content."""
        return bool(self.start) and head.startswith(self.start)


class Places(Struct, frozen=True):
    """The files of a log, oldest first. `path` is the one that grows."""

    path: str
    files: list[Place]
    version: int = _VERSION


_decoder: Final = msgspec.json.Decoder(Places)


def is_alike(one: bytes, other: bytes) -> bool:
    """Tell whether two beginnings are of the same content: their first line is the same."""
    length = min(len(one), len(other))
    return one[:length] == other[:length] and (length == START or b"\n" in one[:length])


def load_places(file: Path, path: Path) -> Places | None:
    """Return the places saved for the log `path`; None if there are none that can be used.

    Then the log is read from its beginning: what was taken before is known to be, and not
    counted again. Raises `OSError`.
    """
    try:
        found = _decoder.decode(file.read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if found.version == _VERSION and found.path == str(path) else None


def save_places(file: Path, places: Places) -> None:
    """Save places, whole or not at all. Raises `OSError`."""
    write_atomically(file, msgspec.json.encode(places))
