"""What the line to the control plane says of trouble, and to whom."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from pdp.data.control import ControlClient
from pdp.errors import Unavailable
from pdp.internal.v1 import control_pb2 as pb
from pdp.internal.v1 import control_pb2_grpc as pb_grpc

INSIDE = "no such table: api_keys"


class Broken(pb_grpc.ControlServiceServicer):
    """A control plane with a defect, and one of another release."""

    async def ResolveKey(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.key_id:
            return pb.ResolveKeyResponse(found=True, resolved_json=b'{"surprise": 1}')
        raise RuntimeError(INSIDE)


async def test_an_api_client_hears_nothing_of_the_inside(tmp_path: Path) -> None:
    server = grpc.aio.server()
    address = f"unix:{tmp_path}/control.sock"
    server.add_insecure_port(address)
    pb_grpc.add_ControlServiceServicer_to_server(Broken(), server)
    await server.start()
    client = ControlClient(address, "fingerprint")
    told = []
    with capture_logs() as log:
        for question in (client.by_hash(b"x"), client.by_hash(b"x"), client.by_id("a")):
            with pytest.raises(Unavailable) as refused:
                await question
            told.append(str(refused.value))
    await client.close()
    await server.stop(None)
    assert set(told) == {"it cannot be decided at the moment: try again"}
    assert len(log) == 1, "one word for all that fail together"
    assert INSIDE in log[0]["reason"]


async def test_a_name_without_an_address_is_told() -> None:
    client = ControlClient("nowhere.invalid:9300", "fingerprint")
    with pytest.raises(Unavailable, match=r"`nowhere\.invalid:9300` has no address"):
        await client.prices()
    await client.close()
