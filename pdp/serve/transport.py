"""Which gRPC server carries the calls: the one place that knows there are two."""

import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import grpc

from pdp.certificates import Renewed
from pdp.errors import StartRefused, cannot_listen
from pdp.keepalive import SHORTEST
from pdp.serve.turn import Turn
from pdp.tls import server_credentials

Transport = Literal["auto", "native", "grpcio"]

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes: above the 8 MB of body that the example Envoy sends, with room for headers."""

MAX_STREAMS = 1024
"""Calls in flight on a connection: who does not read his answers has no more of them kept."""

MAX_UNTAKEN = 16 * MAX_STREAMS
"""Calls of all connections that the event loop has not taken yet. Beyond that grpcio ends some
at random, those of others, too, without our answer: by itself from 1,000 on, which one pause
of a busy machine brings about. An Envoy has 10,000 calls at most."""

_OPTIONS = (
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.server.max_pending_requests", MAX_UNTAKEN),
    ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_UNTAKEN),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", int(SHORTEST * 1000)),
)


@runtime_checkable
class TakesSockets(Protocol):
    """A server that does TLS itself, on a socket that is bound."""

    def add_tls_port(self, listener: socket.socket, tls: Renewed) -> None:
        """Take calls of a bound socket; raises `StartRefused`."""
        ...


def carrier(transport: Transport) -> Literal["native", "grpcio"]:
    """Return what carries the calls: `auto` is native."""
    return "grpcio" if transport == "grpcio" else "native"


def make_server(
    transport: Transport,
    *,
    max_message: int = MAX_MESSAGE,
    shared: bool = False,
    more: Sequence[tuple[str, int]] = (),
) -> grpc.aio.Server:
    """Return a server without services and ports; `max_message` in bytes.

    `shared`: other processes listen on its port, too, and the kernel spreads connections;
    `more`: options of gRPC beside ours.
    """
    options = (
        ("grpc.max_receive_message_length", max_message),
        ("grpc.so_reuseport", int(shared)),
        *_OPTIONS,
        *more,
    )
    if carrier(transport) == "grpcio":
        return grpc.aio.server(options=options)
    # The control plane does without.
    from pdp.serve.secure.server import SecuredServer  # noqa: PLC0415

    return SecuredServer(options=options, io_threads=1)


def take_turns(server: grpc.aio.Server, turn: Turn) -> None:
    """Let a server that decides calls in batches do it in `turn`."""
    from pdp.serve.fast import FastServer  # noqa: PLC0415

    if isinstance(server, FastServer):
        server.take_turns(turn)


def bind(
    server: grpc.aio.Server,
    address: str,
    setting: str,
    tls: Renewed | None = None,
    *,
    shared: bool = False,
) -> str:
    """Bind `host:port` or `unix:/path`, for TLS with `tls`; return it with the real port.

    `shared`: a port that others have bound as well; the server was made for that, too.
    Raises `StartRefused`, naming the setting, when that cannot be done.
    """
    path = unix_path(address)
    if path is not None:
        return _bind_unix(server, address, path, setting, tls)
    claimed = claim(address, setting, shared=shared)
    if tls is not None and isinstance(server, TakesSockets):
        _hand_over(claimed, server, tls, address, setting)
        return f"{address.rpartition(':')[0]}:{claimed.getsockname()[1]}"
    claimed.close()
    try:
        port = _add_port(server, address, tls)
    except (RuntimeError, ValueError) as error:
        raise StartRefused(f"{setting}: cannot listen on `{address}`: is it in use?") from error
    return f"{address.rpartition(':')[0]}:{port}"


def unix_path(address: str) -> Path | None:
    """Return the path of a `unix:/path` address, None for any other."""
    return Path(address.removeprefix("unix:")) if address.startswith("unix:") else None


def is_local(address: str) -> bool:
    """Tell whether only this machine can reach an address."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # A name, whoever may answer to it.


def reachable(listen: str) -> str:
    """Return where to find a server that listens on every address of this machine."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]") else listen  # noqa: S104


def _add_port(server: grpc.aio.Server, address: str, tls: Renewed | None) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, server_credentials(tls))


def _bind_unix(
    server: grpc.aio.Server,
    address: str,
    path: Path,
    setting: str,
    tls: Renewed | None,
) -> str:
    clear_socket(path, setting)
    try:
        if tls is None or not isinstance(server, TakesSockets):
            with _for_the_group():
                _add_port(server, address, tls)
            return address
        bound = _bound(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise StartRefused(f"{setting}: cannot listen on `{address}`: check the folder") from error
    _hand_over(bound, server, tls, address, setting)
    return address


@contextmanager
def _for_the_group() -> Iterator[None]:
    """Make sockets of mode 0660 from their first moment; folders would lack what opens them."""
    before = os.umask(0o117)
    try:
        yield
    finally:
        os.umask(before)


def _bound(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    try:
        with _for_the_group():
            bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    return bound


def _hand_over(
    bound: socket.socket, server: TakesSockets, tls: Renewed, address: str, setting: str
) -> None:
    try:
        bound.listen()  # From now on: others may bind, and take, what nobody listens on.
        server.add_tls_port(bound, tls)
    except OSError as error:
        bound.close()
        raise cannot_listen(setting, address, error) from error
    except BaseException:
        bound.close()
        raise


def clear_socket(path: Path, setting: str) -> None:
    """Remove a socket that a killed process left behind.

    Raises `StartRefused` for one that somebody still answers on, for what is no socket, and
    for a path that no socket can have.
    """
    if len(os.fsencode(path)) > 107:
        raise StartRefused(
            f"{setting}: the path `{path}` is too long for a unix socket (107): use a shorter one"
        )
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartRefused(
                f"{setting}: `{path}` is there and is no socket: choose another path"
            )
    except OSError:
        return  # There is nothing, or the bind will say what is wrong.
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise StartRefused(f"{setting}: `{path}` is in use by another process")


def claim(
    address: str,
    setting: str,
    *,
    shared: bool = False,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> socket.socket:
    """Return a socket bound to `host:port` that does not listen; `shared`: others may be, too.

    Raises `StartRefused` with the reason: the transports only say that they cannot.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=kind, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            if kind is socket.SOCK_STREAM:  # Of UDP it would let two bind the same port.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind(where)
        except OSError:
            bound.close()
            raise
    except (OSError, ValueError, OverflowError) as error:
        raise cannot_listen(setting, address, error) from error
    return bound
