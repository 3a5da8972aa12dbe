"""Who gets through to the gRPC port with TLS: certificates, and what they are renewed by."""

import asyncio
import re
import ssl
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from structlog.typing import EventDict

from pdp.certificates import Pems
from pdp.serve.secure.port import TlsPort
from pdp.serve.transport import Transport, bind, make_server
from pdp.tls import handshake_fault, open_channel
from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.http2 import grpc_call, grpc_headers, hello
from tests.pki import Authority, Shown
from tests.stack import eventually_async
from tests.wire.harness import record, secured
from tests.wire.test_trouble import SlowKeys

TOKEN = "a token of some length"
PAGE = (Path(__file__).parents[2] / "docs" / "grpc.md").read_text("utf-8")
FRESH = (("grpc.use_local_subchannel_pool", 1),)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def pems(ca: Path | None, shown: Shown | None = None) -> Pems:
    return Pems(
        None if shown is None else shown.cert.read_bytes(),
        None if shown is None else shown.key.read_bytes(),
        None if ca is None else ca.read_bytes(),
        None,
    )


async def ask(
    address: str, shows: Pems | None, token: str = "", server_name: str | None = None
) -> str:
    """Check over a connection of its own; return the reason, or the status and details."""
    told = [("authorization", f"Bearer {token}")] if token else []
    request = pb.CheckRequest(api_key="root", action="chat:completions", model="gpt-4o")
    async with open_channel(address, shows, server_name=server_name, options=FRESH) as channel:
        try:
            stub = pb_grpc.PolicyDecisionServiceStub(channel)
            answer = await stub.Check(request, timeout=60, metadata=told)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {error.details()}"
        return str(answer.reason)


async def test_a_certificate_of_the_ca_is_enough_and_needed(
    transport: Transport, authority: Authority, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stranger = Authority(tmp_path, "stranger")
    shown, ca = authority.issue("server", "127.0.0.1"), authority.ca
    async with secured(transport, shown, ca, None) as address:
        assert await ask(address, pems(ca, authority.issue("envoy"))) == "ok"
        for shows in (
            pems(ca),
            pems(ca, stranger.issue("other")),
            pems(ca, authority.issue("old", ends=-timedelta(days=1))),
            None,
        ):
            refused = await ask(address, shows, token=TOKEN)
            assert refused.startswith("UNAVAILABLE")
        assert await ask(address, pems(ca, authority.issue("envoy"))) == "ok"
    assert "Traceback" not in capfd.readouterr().err


async def test_the_server_is_known_by_its_ca_and_its_name(
    transport: Transport, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    shown = authority.issue("server", "pdp.test")
    async with secured(transport, shown, None, None) as address:
        assert await ask(address, pems(authority.ca), server_name="pdp.test") == "ok"
        other_name = await ask(address, pems(authority.ca))
        other_ca = await ask(address, pems(stranger.ca), server_name="pdp.test")
    assert handshake_fault(other_name) == "its certificate has another name"
    assert "its certificate is not accepted" in handshake_fault(other_ca)


async def test_without_a_client_ca_the_token_is_needed(
    transport: Transport, authority: Authority
) -> None:
    async with secured(transport, authority.issue("server", "127.0.0.1"), None, TOKEN) as address:
        assert await ask(address, pems(authority.ca), token=TOKEN) == "ok"
        assert (await ask(address, pems(authority.ca))).startswith("UNAUTHENTICATED")
        async with open_channel(address, pems(authority.ca)) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def unix_connections(folder: Path) -> int:
    """Return how many the native transport has had in this process, which counts them."""
    server: Any = make_server("native")
    peers: list[str] = []

    async def note(_: object, context: Any) -> bytes:
        peers.append(context.peer())
        return b""

    note_it = {"Note": grpc.unary_unary_rpc_method_handler(note)}
    server.add_registered_method_handlers("test", note_it)
    address = bind(server, f"unix:{folder}/count.sock", "PDP_GRPC_LISTEN")
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.unary_unary("/test/Note", None, None)(b"")
    await server.stop(None)
    return int(peers[0].removeprefix("unix:"))


async def test_the_log_has_the_address_of_who_is_refused(
    transport: Transport, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    so_far = await unix_connections(tmp_path)  # A data plane has the one server, and none so far.
    start = TlsPort.start

    def start_there(port: TlsPort) -> None:
        port._connected = so_far
        start(port)

    monkeypatch.setattr(TlsPort, "start", start_there)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.set_alpn_protocols(["h2"])
    shown = authority.issue("server", "127.0.0.1")
    async with secured(transport, shown, None, TOKEN) as address:
        _, port = address.split(":")
        callers = [
            await asyncio.open_connection("127.0.0.1", int(port), ssl=context) for _ in range(4)
        ]
        callers[0][1].transport.abort()
        assert await ask(address, pems(authority.ca), token=TOKEN) == "ok"
        writer = callers[2][1]
        headers = grpc_headers("/pdp.v1.PolicyDecisionService/Check")
        with capture_logs() as log:
            writer.write(hello(65535) + grpc_call(1, headers, b""))
            await eventually_async(lambda: is_told(log), "the caller is refused", 30)
        mine = writer.get_extra_info("sockname")[1]
        for _, each in callers:
            each.transport.abort()
    assert [each["peer"] for each in log] == [f"ipv4:127.0.0.1:{mine}"]


async def is_told(log: list[EventDict]) -> bool:
    return bool(log)


async def test_a_renewed_certificate_is_shown_to_who_comes_next(
    transport: Transport, authority: Authority, tmp_path: Path
) -> None:
    successor = Authority(tmp_path, "successor")
    shown = authority.issue("server", "127.0.0.1")
    async with secured(transport, shown, None, None) as address:
        assert await ask(address, pems(authority.ca)) == "ok"
        assert successor.issue("server", "127.0.0.1") == shown
        assert await ask(address, pems(successor.ca)) == "ok"
        assert "not accepted" in handshake_fault(await ask(address, pems(authority.ca)))


async def test_another_client_ca_counts_for_who_comes_next(
    transport: Transport, authority: Authority, tmp_path: Path
) -> None:
    shown, trusted = authority.issue("server", "127.0.0.1"), Authority(tmp_path, "callers")
    before = pems(authority.ca, trusted.issue("envoy"))
    async with secured(transport, shown, trusted.ca, None) as address:
        assert await ask(address, before) == "ok"
        successor = Authority(tmp_path, "callers")
        assert await ask(address, pems(authority.ca, successor.issue("envoy"))) == "ok"
        assert (await ask(address, before)).startswith("UNAVAILABLE")


async def test_the_lines_of_the_page_connect(
    transport: Transport, authority: Authority, tmp_path: Path
) -> None:
    (lines,) = re.findall(r"^```python\n(credentials = .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    caller = authority.issue("caller")
    ready = "grpc.channel_ready_future(channel).result(60)"
    async with secured(
        transport, authority.issue("server", "localhost"), authority.ca, None
    ) as address:
        for there, here in (
            ("pdp.example:9191", f"localhost:{address.rpartition(':')[2]}"),
            ("caller.crt", str(caller.cert)),
            ("caller.key", str(caller.key)),
            ("ca.pem", str(authority.ca)),
            ("    ...\n", f"    {ready}\n"),
        ):
            assert there in lines
            lines = lines.replace(there, here)
        await asyncio.to_thread(exec, lines, {"grpc": grpc, "Path": Path})


async def test_a_server_without_tls_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    server = make_server("grpcio")
    address = bind(server, "127.0.0.1:0", "PDP_GRPC_LISTEN")
    await server.start()
    found = await ask(address, pems(Authority(tmp_path).ca))
    await server.stop(None)
    assert handshake_fault(found) == "it does not speak TLS"
    assert handshake_fault(await ask(address, pems(Authority(tmp_path).ca))) == ""


def modes(folder: Path, pattern: str) -> list[int]:
    """Return the modes of what a folder has."""
    return [stat.S_IMODE(each.stat().st_mode) for each in folder.glob(pattern)]


async def test_a_unix_socket_has_tls_too(
    transport: Transport, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / "pdp.sock"
    shown = authority.issue("server", "pdp.test")
    async with secured(transport, shown, None, None, f"unix:{path}") as address:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert modes(tmp_path, "pdp-tls-*") == [0o700] * (transport == "native")
        assert await ask(address, pems(authority.ca), server_name="pdp.test") == "ok"
        assert (await ask(address, None)).startswith("UNAVAILABLE")


async def test_what_is_in_flight_at_the_end_is_answered(
    transport: Transport, authority: Authority
) -> None:
    keys = SlowKeys(record("root"))
    shown = authority.issue("server", "127.0.0.1")
    async with secured(transport, shown, None, None, keys=keys, grace=30) as address:
        asked = asyncio.create_task(ask(address, pems(authority.ca)))
        await keys.asked.wait()
        asyncio.get_running_loop().call_later(0.1, keys.gate.set)
    assert await asked == "ok"
