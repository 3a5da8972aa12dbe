"""Which ways there are for usage lines, and which settings stop the start."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.nginx.usage.datagrams import Datagrams
from adapters.nginx.usage.tail import Tail
from pdp.app.inflows import Inflow, nginx_inflows
from pdp.errors import StartRefused
from pdp.settings import load_settings
from tests.unit.nginx.desk import Office


class Ways:
    """Makes inflows from the environment, and closes them."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._patch = patch
        self._made: list[Inflow] = []
        self.set(DATA_DIR=str(folder), NGINX_USAGE_LISTEN="127.0.0.1:0")

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(f"PDP_{name}", value)

    def open(self) -> list[type[Inflow]]:
        made = nginx_inflows(load_settings(), Office().engine, self._durable)
        self._made += made
        return [type(each) for each in made]

    async def _durable(self) -> None:
        pass

    async def close(self) -> None:
        for each in self._made:
            await each.finish()


@pytest.fixture
async def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ways]:
    made = Ways(tmp_path, monkeypatch)
    yield made
    await made.close()


async def test_udp_is_there_from_the_start_and_the_file_by_choice(ways: Ways) -> None:
    assert ways.open() == [Datagrams]
    ways.set(NGINX_USAGE_FILE=str(ways.folder / "usage.log"))
    assert ways.open() == [Tail, Datagrams]
    ways.set(NGINX_USAGE_LISTEN="off")
    assert ways.open() == [Tail]


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_off_loopback_is_a_choice(ways: Ways, address: str) -> None:
    ways.set(NGINX_USAGE_LISTEN=address)
    with pytest.raises(StartRefused, match="set PDP_NGINX_USAGE_TRUST_NETWORK=true"):
        ways.open()
    ways.set(NGINX_USAGE_TRUST_NETWORK="true")
    assert ways.open() == [Datagrams]


async def test_a_port_that_is_taken_stops_the_start(ways: Ways) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        ways.set(NGINX_USAGE_LISTEN=f"127.0.0.1:{other.getsockname()[1]}")
        with pytest.raises(StartRefused, match="address already in use"):
            ways.open()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("NGINX_USAGE_LISTEN", "unix:/tmp/x", "use `host:port`, or `off`"),
        ("NGINX_USAGE_LISTEN", "9292", "use `host:port`"),
        ("NGINX_USAGE_FILE", " ", "is empty: name a file, or unset it"),
        ("NGINX_USAGE_FILE", "/", "`/` is not a regular file: name one"),
        ("NGINX_USAGE_TRUST_NETWORK", "perhaps", "use `true` or `false`"),
    ],
)
async def test_a_wrong_setting_stops_the_start(
    ways: Ways, name: str, value: str, message: str
) -> None:
    ways.set(**{name: value})
    with pytest.raises(StartRefused) as refused:
        ways.open()
    assert str(refused.value).startswith(f"PDP_{name}: {message}")
