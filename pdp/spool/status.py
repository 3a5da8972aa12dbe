"""What a spool has on disk, read beside whoever writes it: nothing is locked or changed."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from pdp.errors import NotFound, SpoolFailed
from pdp.records import decode
from pdp.spool.checkpoint import load
from pdp.spool.reader import Reader
from pdp.spool.segment import list_segments, measure

Pairing = Literal["new", "paired", "old copy", "other ledger"]


class SpoolFiles(Struct, frozen=True):
    """A spool on disk: records from `first` up to `end` (not included), in `segments` of `bytes`.

    `synced`: up to where it survives a power cut, None: nobody knows. `checkpoint` is the
    first record that the checkpoint does not have, of `checkpoint_at` (ns); None without one.
    `in_use`: a data plane has it.
    """

    directory: Path
    spool_id: str
    first: int
    end: int
    segments: int
    bytes: int
    synced: int | None
    checkpoint: int | None
    checkpoint_at: int | None
    in_use: bool


def look(directory: Path) -> SpoolFiles:
    """Read what is there. Raises `NotFound` without a spool, `SpoolFailed`, `StartRefused`."""
    try:
        for _ in range(10):
            with suppress(FileNotFoundError):  # A segment was dropped between two looks.
                return _look(directory)
            if not (directory / "spool_id").exists():
                raise NotFound(f"there is no spool `{directory}`: run `pdp serve` first")
    except (OSError, ValueError) as error:
        raise SpoolFailed(f"cannot read the spool `{directory}`: {error}") from error
    raise SpoolFailed(f"cannot read the spool `{directory}`: its segments come and go: try again")


def _look(directory: Path) -> SpoolFiles:
    spool_id = (directory / "spool_id").read_text("ascii").strip()
    segments = list_segments(directory)
    sizes = [segment.path.stat().st_size for segment in segments]
    last = segments[-1] if segments else None
    mark = directory / "synced"
    synced = mark.read_text("ascii").strip("\0") if mark.exists() else ""
    checkpoint = load(directory)
    return SpoolFiles(
        directory=directory,
        spool_id=spool_id,
        first=segments[0].first if segments else 0,
        end=last.first + measure(last.path).records if last else 0,
        segments=len(segments),
        bytes=sum(sizes),
        synced=int(synced) if synced else None,
        checkpoint=checkpoint.next_sequence if checkpoint else None,
        checkpoint_at=(directory / "checkpoint").stat().st_mtime_ns if checkpoint else None,
        in_use=_in_use(directory),
    )


def _in_use(directory: Path) -> bool:
    """Tell whether somebody holds the lock of a spool."""
    try:
        fd = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, and let go at once: a data plane that starts now tries for longer.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def pairing_of(files: SpoolFiles, ledger: int) -> Pairing:
    """Return how a spool and the ledger that has `ledger` records of it belong together."""
    if ledger > files.end:
        return "old copy"
    if ledger < files.first:
        return "other ledger"
    return "paired" if ledger else "new"


def time_of(files: SpoolFiles, number: int) -> int | None:
    """Return the time (ns) of a record, or of the first after it; None: there is none.

    Raises `SpoolFailed` where it cannot be read.
    """
    reader = Reader(files.directory)
    try:
        found = reader.read(max(number, files.first), files.end, 1)
    finally:
        reader.close()
    try:
        return decode(found[0][1]).at if found else None
    except msgspec.MsgspecError as error:
        raise SpoolFailed(f"record {number} of the spool cannot be read: {error}") from error
