"""A small `make flood`: each request is settled once, whatever happens meanwhile."""

from pathlib import Path

import pytest

from tests.e2e.nginx.flood import flood
from tests.e2e.nginx.settling import Channel


@pytest.mark.timeout(240)
@pytest.mark.parametrize("channel", ["udp", "file"])
def test_a_flood_is_settled_to_the_last_request(tmp_path: Path, channel: Channel) -> None:
    found = flood(tmp_path, channel, 1000)
    assert (found.answered, found.settled) == (1000, 1000)
    assert found.complete, found
    assert found.lines == (1000 if channel == "file" else 0)
