"""Where temporary files go that have sockets among them."""

import os
import tempfile
from typing import Final

_LONGEST: Final = 56
"""Bytes: the path of a unix socket has 107, and two folders may come between."""


def short_folder() -> str:
    """Return where temporary files go, or another place if its name is too long for sockets."""
    usual = tempfile.gettempdir()
    places = (usual, "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  mkdtemp makes a folder there
    short = (
        place
        for place in places
        if len(os.fsencode(place)) <= _LONGEST and os.access(place, os.W_OK | os.X_OK)
    )
    return next(short, usual)
