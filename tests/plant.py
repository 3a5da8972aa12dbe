"""Control planes `a` and `b` on one PostgreSQL, with data planes of their own."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import requests

from tests.stack import Stack, check, eventually

_PEPPER = "the pepper of these planes, one for all"


class Plant:
    """Data planes at either; they meet on unix sockets and serve on them.

    `data` says at which control plane each is.
    """

    def __init__(
        self, folder: Path, database_url: str, redis_url: str, data: Sequence[int] = (0, 0, 1)
    ) -> None:
        self._redis = {"PDP_REDIS_URL": redis_url, "PDP_REDIS_DEADLINE": "0.5"}
        own = {"PDP_KEY_PEPPER": _PEPPER, "PDP_DATABASE_URL": database_url}
        self.controls = [Stack(folder / name, **own) for name in ("a", "b")]
        for stack in self.controls:
            stack.folder.mkdir()
        self.data = [
            self.data_plane(folder / str(number), control)
            for number, control in enumerate(data, start=1)
        ]
        self._headers: dict[str, str] = {}

    def data_plane(self, folder: Path, control: int) -> Stack:
        """Return a data plane in a folder of its own, not started."""
        folder.mkdir()
        line = f"unix:{self.controls[control].data_dir}/control.sock"
        own = {"PDP_CONTROL_URL": line, "PDP_GRPC_LISTEN": f"unix:{folder}/grpc.sock"}
        stack = Stack(folder, PDP_KEY_PEPPER=_PEPPER, **own, **self._redis)
        stack.arguments = ("--plane", "data")
        return stack

    def start(self) -> None:
        """Make the organization, start all, and wait until they are ready."""
        self._headers["authorization"] = f"Bearer {self.controls[0].init()['api_key']}"
        for stack in self.controls:
            stack.arguments = ("--plane", "control")
            stack.launch()
        for stack in self.controls:
            eventually(lambda at=stack: self._answers(at), "the admin API answers")
        for stack in self.data:
            stack.launch()
        for stack in self.data:
            stack.wait_ready()

    def stop(self) -> None:
        """Stop all, the data planes first."""
        for stack in (*self.data, *self.controls):
            stack.stop()

    def ask(
        self, control: int, method: str, path: str, what: str = "api-keys", **options: Any
    ) -> Any:
        """Ask the admin API of a control plane about keys, or about `what`."""
        url = f"http://127.0.0.1:{self.controls[control].http_port}/v1/{what}{path}"
        answer = requests.request(method, url, headers=self._headers, timeout=60, **options)
        assert answer.ok, answer.text
        return answer.json()

    def channels(self) -> list[grpc.aio.Channel]:
        """Return a line to each data plane."""
        addresses = [stack.environment["PDP_GRPC_LISTEN"] for stack in self.data]
        return [grpc.aio.insecure_channel(address) for address in addresses]

    def _answers(self, stack: Stack) -> bool:
        assert stack.process is not None
        assert stack.process.poll() is None, stack.log()
        try:
            url = f"http://127.0.0.1:{stack.http_port}/v1/organization"
            return requests.get(url, headers=self._headers, timeout=30).ok
        except requests.RequestException:
            return False


async def reasons(channels: list[grpc.aio.Channel], api_key: str, **fields: Any) -> set[str]:
    """Return what all data planes say of a key, without anything for the ledger to take."""
    asked = (check(each, api_key, dry_run=True, **fields) for each in channels)
    answers = await asyncio.gather(*asked)
    return {answer.reason for answer in answers}
