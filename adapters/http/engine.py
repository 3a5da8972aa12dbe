"""The part of the engine that decides, as adapters see it."""

from collections.abc import Awaitable
from typing import Protocol

from pdp.model import Decision, Reported, Request


class Decider(Protocol):
    """Decides, and takes back what did not reach its caller."""

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """Decide a request."""
        ...

    def deny(self, reason: str, message: str, request_id: str, adapter: str) -> Decision:
        """Make a denial of a request that has no key yet."""
        ...

    def undecided(self, request_id: str, adapter: str, message: str = ...) -> Decision:
        """Deny a request that cannot be decided."""
        ...

    def withdraw(self, decision: Decision) -> Awaitable[Reported | None] | Reported | None:
        """Take a permission back that did not reach its caller."""
        ...
