"""A PDP, a real Envoy before it, and a provider behind it; one set for all tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backdrop import Backdrop
from tests.envoy import Envoy


class Gateway(Backdrop):
    """Everything together."""

    def __init__(
        self, folder: Path, transport: str, edit: Callable[[str], str] = str, **settings: str
    ) -> None:
        super().__init__(folder, PDP_GRPC_TRANSPORT=transport, **settings)
        self.envoy = Envoy(folder, self.stack.grpc_port, self.provider.port, edit)

    @property
    def url(self) -> str:
        return self.envoy.url

    def start(self) -> None:
        self.stack.start()
        self.envoy.start()

    def stop(self) -> None:
        self.close_clients()
        self.envoy.stop()
        self.stop_rest()


@pytest.fixture(scope="module", params=["native", "grpcio"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A running gateway, on each transport."""
    made = Gateway(tmp_path_factory.mktemp("gateway"), request.param)
    made.start()
    yield made
    made.stop()
