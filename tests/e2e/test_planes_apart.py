"""`--plane data` and `--plane control` as processes of their own, over TCP with mutual TLS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from pdp.certificates import Pems, Renewed, line_files
from pdp.data.control import ControlClient
from pdp.errors import Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.internal.v1 import control_pb2_grpc as pb_grpc
from pdp.settings import Settings
from pdp.tls import open_channel
from tests.pki import Authority, Shown
from tests.planes import PEPPER, Planes, data_plane_of, planes_apart, shows
from tests.ports import free_port
from tests.stack import (
    Stack,
    check,
    eventually,
    eventually_async,
    report,
    stops_within_a_second,
)

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    with planes_apart(tmp_path_factory.mktemp("planes")) as apart:
        yield apart


def port_of(planes: Planes) -> int:
    return int(planes.control.environment["PDP_CONTROL_LISTEN"].rpartition(":")[2])


async def test_a_request_goes_through_both(planes: Planes) -> None:
    key = planes.control.create_key(name="App", budget_limits={"total": 10.0})
    async with planes.data.channel() as channel:
        hold = await check(channel, key["api_key"], request_id="apart-1")
        assert hold.reason == "ok", hold.message
        usage = {"reservation_id": hold.reservation_id, "prompt_tokens": 100}
        assert (await report(channel, usage)).accepted == 1

    def settled() -> bool:
        entries = [each for each in planes.control.audit() if each["request_id"] == "apart-1"]
        return [each["status"] for each in entries] == ["success"]

    eventually(settled, "the ledger has it")
    assert not list(planes.data.data_dir.glob("*.db"))
    found = planes.data.json("spool", "status")  # The control plane is asked what it has.
    assert (found["pairing"], found["ledger_before"]) == ("paired", found["next_record"])
    assert 'certificate_expiry_timestamp_seconds{port="control"}' in planes.data.get("/metrics")[1]


async def test_a_revoked_key_stops_within_a_second(planes: Planes) -> None:
    async with planes.data.channel() as channel:
        await stops_within_a_second(planes.control, channel)


@asynccontextmanager
async def line(
    planes: Planes, shown: Shown, ca: Path, server_name: str = "control.test"
) -> AsyncIterator[ControlClient]:
    """Give a line to the control plane, as a data plane would have it, also with old papers."""
    settings = Settings(control_tls_cert=shown.cert, control_tls_key=shown.key, control_tls_ca=ca)
    files = line_files(settings, "client")
    assert files is not None
    tls = Renewed(files, lambda: datetime.now(UTC) - timedelta(days=1, hours=12))
    target = f"127.0.0.1:{port_of(planes)}"
    client = ControlClient(target, PEPPER, tls=tls, server_name=server_name)
    try:
        yield client
    finally:
        await client.close()


async def test_strangers_are_refused_in_the_handshake(planes: Planes, tmp_path: Path) -> None:
    authority, stranger = planes.authority, Authority(tmp_path, "stranger")
    known = authority.issue("known")
    async with line(planes, known, authority.ca) as client:
        assert (await client.by_id("key_nobody"))[1] is None
    for shown, ca, name, words in (
        (stranger.issue("other"), authority.ca, "control.test", "maybe our certificate"),
        (authority.issue("old", ends=-DAY), authority.ca, "control.test", "maybe our certificate"),
        (known, stranger.ca, "control.test", "its certificate is not accepted"),
        (
            known,
            authority.ca,
            "pdp.test",
            "its certificate has another name: set PDP_CONTROL_TLS_NAME",
        ),
    ):
        async with line(planes, shown, ca, name) as client:
            with pytest.raises(Unavailable, match=words):
                await client.ingest("spool", 0, ())
    for reason in ("certificate has expired", "unable to get local issuer certificate"):
        eventually(lambda reason=reason: reason in planes.control.log(), "the log says why")


async def test_strangers_without_a_certificate_get_nothing(planes: Planes) -> None:
    target, options = f"127.0.0.1:{port_of(planes)}", (("grpc.use_local_subchannel_pool", 1),)
    nothing = Pems(None, None, planes.authority.ca.read_bytes(), None)
    for pems, name in ((nothing, "control.test"), (None, None)):
        async with open_channel(target, pems, server_name=name, options=options) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await pb_grpc.ControlServiceStub(channel).GetPrices(pb.GetPricesRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    for reason in ("peer did not return a certificate", "wrong version number"):
        eventually(lambda reason=reason: reason in planes.control.log(), "the log says why")
    assert all(line.startswith("{") for line in planes.control.log().splitlines())


def test_a_data_plane_of_strangers_waits_and_says_why(planes: Planes, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    data = data_plane_of(tmp_path / "data", port_of(planes), stranger.issue("data"), stranger.ca)
    try:
        data.launch()
        eventually(lambda: "not accepted" in data.log(), "it says why")
        assert data.get("/readyz")[0] == 503
    finally:
        assert data.stop() == 0
    assert data.log().count("not accepted") == 1
    assert "Traceback" not in data.log() + planes.control.log()


async def test_a_control_plane_comes_back_with_other_certificates(planes: Planes) -> None:
    """The last test of the module: there is another CA from here on."""
    successor = Authority(planes.authority.ca.parent)
    assert successor.ca == planes.authority.ca
    planes.control.stop()
    successor.issue("control", "control.test")
    successor.issue("data")
    planes.launch_control()
    key = planes.control.create_key()
    async with planes.data.channel() as channel:

        async def allowed() -> bool:
            return (await check(channel, key["api_key"])).reason == "ok"

        await eventually_async(allowed, "the data plane is back")
    assert "certificate renewed" in planes.data.log()
    assert "Traceback" not in planes.data.log() + planes.control.log()


def test_both_planes_of_a_serve_meet_by_tls_where_others_may_come(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pdp, operator = authority.issue("pdp", "pdp.test"), authority.issue("operator")
    stack = Stack(
        tmp_path,
        PDP_CONTROL_LISTEN=f"0.0.0.0:{free_port()}",
        PDP_CONTROL_TLS_NAME="control.test",
        PDP_GRPC_LISTEN=f"unix:{tmp_path}/pdp.sock",
        PDP_TLS_CERT=str(pdp.cert),
        PDP_TLS_KEY=str(pdp.key),
        PDP_TLS_CLIENT_CA=str(authority.ca),
        PDP_CHECK_TLS_CA=str(authority.ca),
        PDP_CHECK_TLS_CERT=str(operator.cert),
        PDP_CHECK_TLS_KEY=str(operator.key),
        PDP_CHECK_TLS_NAME="pdp.test",
    )
    shows(stack, authority.issue("control", "control.test"), authority.ca)
    stack.init()
    stack.environment["VISCA_API_KEY"] = stack.create_key()["api_key"]
    try:
        stack.start()
        done = stack.run("check", "--model", "gpt-4o")
    finally:
        stack.stop()
    assert "allow (200)" in done.stdout, done.stderr
