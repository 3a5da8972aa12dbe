"""Ports for servers of tests, which no other process takes between two starts of a server."""

import socket
from collections.abc import Iterator
from typing import Final

_FIRST: Final = 12_000
_LAST: Final = 32_000
"""Below those that the kernel gives away by itself: to connections, and to port 0."""

_BLOCK: Final = 100

_claims: list[socket.socket] = []


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port that is free, and that nobody else has been or will be given."""
    for port in _ports:
        with socket.socket(type=kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("there is no free port left")


def _own_ports() -> Iterator[int]:
    """Yield the ports of a block that this process claims, and of another one after it.

    A claim is a name that one socket of this machine can have; it ends with the process.
    """
    for start in range(_FIRST, _LAST, _BLOCK):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0pdp-tests-ports-{start}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        yield from range(start, start + _BLOCK)


_ports = _own_ports()
