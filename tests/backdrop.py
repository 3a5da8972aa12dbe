"""What every proxy stands between in tests: a PDP and a provider; and its clients."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import openai

from tests.provider import Provider
from tests.stack import Stack, eventually

T = TypeVar("T")


class Backdrop(ABC):
    """A PDP that is initialized but not started, and a provider that runs.

    Keys are made with `stack.create_key`, clients with `client`; `url` is the proxy's.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.stack = Stack(folder, **settings)
        self.stack.init_by_copy()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.provider = self.run(self._provide())
        self._clients: list[openai.OpenAI] = []

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the proxy answers."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the event loop of the provider."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _provide(self) -> Provider:
        provider = Provider()
        provider.start()
        return provider

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()

    def stop_rest(self) -> None:
        """Stop the PDP and the provider."""
        self.stack.stop()
        self.run(self.provider.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def client(self, api_key: str) -> openai.OpenAI:
        made = openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=60)
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
