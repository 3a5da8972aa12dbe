"""Addresses: which of them only this machine can reach, and where a server is found."""

from pathlib import Path

import pytest

from pdp.certificates import Renewed, port_files, wall_clock
from pdp.errors import StartRefused
from pdp.serve.http import listen
from pdp.serve.transport import Transport, bind, is_local, make_server, reachable
from pdp.settings import Settings
from tests.pki import Authority
from tests.ports import free_port


@pytest.mark.parametrize(
    "address",
    ["unix:/run/pdp.sock", "localhost:1", "127.0.0.1:1", "127.8.9.1:1", "[::1]:1"],
)
def test_loopback_is_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[2001:db8::1]:1"),
        *("pdp.example:1", "127.pdp.example:1", "localhost.pdp.example:1"),
    ],
)
def test_all_else_is_not(address: str) -> None:
    assert not is_local(address)


def test_who_listens_everywhere_is_found_on_loopback() -> None:
    assert [reachable(each) for each in ("0.0.0.0:9", "[::]:9", "10.0.0.1:9", "unix:/x")] == [
        *("127.0.0.1:9", "127.0.0.1:9"),
        *("10.0.0.1:9", "unix:/x"),
    ]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_port_has_several_listeners_where_all_share_it(transport: Transport) -> None:
    address = f"127.0.0.1:{free_port()}"
    servers = [make_server(transport, shared=True) for _ in range(2)]
    assert {bind(each, address, "PDP_GRPC_LISTEN", shared=True) for each in servers} == {address}
    with pytest.raises(StartRefused, match=r"^PDP_GRPC_LISTEN: .*already in use"):
        bind(make_server(transport), address, "PDP_GRPC_LISTEN")
    for each in servers:
        await each.stop(None)


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_nobody_else_takes_a_port_with_tls_before_it_is_served(
    transport: Transport, tmp_path: Path
) -> None:
    shown = Authority(tmp_path).issue("server")
    files = port_files(Settings(tls_cert=shown.cert, tls_key=shown.key))
    assert files is not None
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/pdp.sock"):
        server = make_server(transport)
        taken = bind(server, address, "PDP_GRPC_LISTEN", Renewed(files, wall_clock))
        with pytest.raises(StartRefused, match=r"^PDP_OPS_LISTEN: .* in use"):
            listen(taken, "PDP_OPS_LISTEN")
        await server.stop(None)
