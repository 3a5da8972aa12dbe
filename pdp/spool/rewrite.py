"""After a sync that failed.

The kernel lets go of pages that it could not write, and calls the next fsync a success.
What is written over itself is dirty again, and that fsync means what it says.
"""

import os
from typing import Final

_CHUNK: Final = 1 << 20


def write_again(fd: int, size: int) -> None:
    """Write the first `size` bytes of an open file over themselves. Raises `OSError`."""
    # By a descriptor of its own: where O_APPEND is set every write goes to the end.
    own = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    try:
        offset = 0
        while data := os.pread(own, min(_CHUNK, size - offset), offset):
            offset += os.pwrite(own, data, offset)
    finally:
        os.close(own)
