"""A client of the admin API of a stack."""

from typing import Any

import requests

from tests.stack import Stack


class Admin:
    """Asks with one key."""

    def __init__(self, stack: Stack, api_key: str) -> None:
        self.stack = stack
        self.api_key = api_key
        self.base = f"http://127.0.0.1:{stack.http_port}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request with the key."""
        headers = {"authorization": f"Bearer {self.api_key}", **options.pop("headers", {})}
        return requests.request(
            method, self.base + path, headers=headers, timeout=30, allow_redirects=False, **options
        )

    def make(self, **body: Any) -> dict[str, Any]:
        """Make a key."""
        answer = self.ask("POST", "/v1/api-keys", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def as_key(self, api_key: str) -> "Admin":
        """Return a client with another key."""
        return Admin(self.stack, api_key)
