"""Every wire test runs on both transports."""

import pytest

from pdp.serve.transport import Transport
from tests.wire.harness import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    """The gRPC server under test."""
    value: Transport = request.param
    return value
