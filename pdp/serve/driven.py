"""A call that is answered later: without a task of its own as long as it waits for slots."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from pdp.eager import Rest
from pdp.serve.logs import log_defect
from pdp.slot import Slot

_log = structlog.get_logger(__name__)


class Driven(asyncio.Future[None]):
    """Runs a coroutine. Whoever fills a slot that it waits for goes on with it at once.

    To the library it is the call's task: it can be cancelled and waited for. As soon as the
    coroutine waits for anything but a slot, a task takes it over. `ended` is told when it is
    over whether it was cancelled. What the coroutine raises is a defect, and is logged: who has
    filled the slot has others to wake.
    """

    def __init__(self, flow: Coroutine[Any, Any, None], ended: Callable[[bool], None]) -> None:
        super().__init__()
        self._flow = flow
        self._ended = ended
        self._waits_for: Slot[Any] | asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run until it waits for the first time."""
        self._go_on()

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the coroutine where it waits; False if it is over."""
        waits_for = self._waits_for
        if isinstance(waits_for, Slot):
            waits_for.wake_with(None)
            waits_for.cancel(msg)
            # The class: an exception that is held here would hold this frame by its traceback.
            self._step(self._flow.throw, asyncio.CancelledError)
            return True
        return waits_for is not None and waits_for.cancel(msg)

    def _go_on(self) -> None:
        self._step(self._flow.send, None)

    def _step(self, move: Callable[[Any], Any], what: Any) -> None:
        self._waits_for = None
        try:
            waits_for = move(what)
        except StopIteration:
            self._over(is_cancelled=False)
        except asyncio.CancelledError:
            self._over(is_cancelled=True)
        except BaseException as error:
            self._over(is_cancelled=False)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            log_defect(_log, "a call failed", error)
        else:
            self._wait(waits_for)

    def _wait(self, waits_for: Any) -> None:
        if isinstance(waits_for, Slot):
            waits_for.wake_with(self._go_on)
            self._waits_for = waits_for
            return
        task = self._waits_for = self.get_loop().create_task(Rest(self._flow, waits_for))
        task.add_done_callback(self._task_over)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        self._over(is_cancelled=task.cancelled())

    def _over(self, *, is_cancelled: bool) -> None:
        if is_cancelled:
            super().cancel()
        else:
            self.set_result(None)
        self._ended(is_cancelled)
