"""Checkpoints: the counters as they stood before a record, so that replay starts there."""

from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from pdp.errors import StartRefused
from pdp.spool.folder import FolderLock, write_atomically

_VERSION: Final = 1
_CRC_BYTES: Final = 4
_WAIT: Final = 10.0


class Checkpoint(Struct, frozen=True, array_like=True):
    """`state` is a snapshot of the counters with every record below `next_sequence` in it."""

    spool_id: str
    next_sequence: int
    state: bytes
    version: int = _VERSION


_decoder = msgspec.msgpack.Decoder(Checkpoint)


def load(directory: Path) -> Checkpoint | None:
    """Return the checkpoint of a spool, None if there is none. Raises `StartRefused`, `OSError`."""
    path = directory / "checkpoint"
    if not path.exists():
        return None
    data = path.read_bytes()
    body = data[_CRC_BYTES:]
    try:
        checkpoint = _decoder.decode(body)
    except msgspec.DecodeError:
        checkpoint = None
    if checkpoint is None or crc32(body).to_bytes(_CRC_BYTES, "little") != data[:_CRC_BYTES]:
        raise StartRefused(f"{path} is damaged: restore it from a backup")
    if checkpoint.version != _VERSION:
        raise StartRefused(
            f"{path} has version {checkpoint.version}, this release reads {_VERSION}: "
            "use the release that wrote it"
        )
    return checkpoint


def save(directory: Path, checkpoint: Checkpoint) -> bool:
    """Put a checkpoint in the place of an older one; False if there is a newer one.

    Whoever else may be at it (a compaction that outlived its parent) waits.
    Raises `OSError`, and `StartRefused` when the old one is damaged.
    """
    lock = FolderLock(directory, "checkpoint.lock")
    if not lock.acquire(_WAIT):
        return False
    try:
        present = load(directory)
        if present is not None and present.next_sequence > checkpoint.next_sequence:
            return False
        body = msgspec.msgpack.encode(checkpoint)
        write_atomically(
            directory / "checkpoint", crc32(body).to_bytes(_CRC_BYTES, "little") + body
        )
    finally:
        lock.release()
    return True
