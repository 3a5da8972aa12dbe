"""Where the parts of the demo listen."""

import socket

from msgspec import Struct


class Ports(Struct, frozen=True):
    """TCP ports on 127.0.0.1."""

    envoy: int
    upstream: int
    grpc: int
    ops: int
    admin: int


def choose_ports() -> Ports:
    """Return the usual ports where they are free, others where not."""
    chosen: list[int] = []
    for usual in (10000, 11000, 9191, 9464, 8080):
        chosen.append(usual if _is_free(usual) else _any_free(chosen))
    return Ports(*chosen)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _any_free(taken: list[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in taken:
            return port
