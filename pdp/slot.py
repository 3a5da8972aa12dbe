"""A future whose waiter goes on where the answer comes in, and not a turn of the loop later."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(asyncio.Future[T], Generic[T]):
    """A future for one waiter: a task as with any other, or who has left word how to wake him.

    Whoever ends the slot calls `awaken` then. What goes on there is in no task: see
    pdp/eager.py for what that means.
    """

    _wake: Callable[[], None] | None = None

    def wake_with(self, wake: Callable[[], None] | None) -> None:
        """Call `wake` when the slot has ended. Said once it was yielded to who asks."""
        # A task says so, too: it has seen that it was yielded by `await`.
        self._asyncio_future_blocking = False
        self._wake = wake

    def awaken(self) -> None:
        """Let the waiter go on at once, if he can."""
        if self._wake is not None:
            self._wake()
