"""A PDP, a real Envoy before it, and a provider behind it; one set for all tests of a module."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest

from tests.envoy import Envoy
from tests.provider import Provider
from tests.stack import Stack, eventually

T = TypeVar("T")


class Gateway:
    """Everything together. Keys are made with `key`, clients with `client`."""

    def __init__(
        self, folder: Path, transport: str, edit: Callable[[str], str] = str, **settings: str
    ) -> None:
        self.stack = Stack(folder, PDP_GRPC_TRANSPORT=transport, **settings)
        self.stack.init()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.provider = self.run(self._provide())
        self._clients: list[openai.OpenAI] = []
        self.envoy = Envoy(folder, self.stack.grpc_port, self.provider.port, edit)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the event loop of the provider."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _provide(self) -> Provider:
        provider = Provider()
        provider.start()
        return provider

    def start(self) -> None:
        self.stack.start()
        self.envoy.start()

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        self.envoy.stop()
        self.stack.stop()
        self.run(self.provider.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def client(self, api_key: str) -> openai.OpenAI:
        made = openai.OpenAI(
            base_url=f"{self.envoy.url}/v1", api_key=api_key, max_retries=0, timeout=20
        )
        self._clients.append(made)
        return made

    def settled(self, request_id: str) -> dict[str, Any]:
        """Return the audit entry of a request once it is no longer pending."""

        def find() -> dict[str, Any] | None:
            return next(
                (
                    entry
                    for entry in self.stack.audit(200)
                    if entry["request_id"] == request_id and entry["status"] != "pending"
                ),
                None,
            )

        entry: dict[str, Any] = eventually(find, f"{request_id} is settled")
        return entry


@pytest.fixture(scope="module", params=["native", "grpcio"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A running gateway, on each transport."""
    made = Gateway(tmp_path_factory.mktemp("gateway"), request.param)
    made.start()
    yield made
    made.stop()
