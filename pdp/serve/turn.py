"""A turn: calls that are decided one after another are written down at once, then answered."""

from collections.abc import Callable
from types import TracebackType

import structlog

from pdp.serve.logs import log_defect

_log = structlog.get_logger(__name__)


def _nothing() -> None:
    pass


class Turn:
    """What is decided in one go, with nothing awaited in between; use it as `with turn:`.

    `begin` and `end` gather the records of its calls and write them. `answer` is called
    after that: nobody is told what is not written down.
    """

    def __init__(
        self, begin: Callable[[], None] = _nothing, end: Callable[[], None] = _nothing
    ) -> None:
        self.is_open = False
        self.answer: Callable[[], None] = _nothing
        self._begin = begin
        self._end = end

    def __enter__(self) -> None:
        assert not self.is_open, "a turn ends before the next begins"
        self._begin()
        self.is_open = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_open = False
        try:
            self._end()
        except Exception as failed:
            log_defect(_log, "a batch was not written", failed)  # The verdicts stand.
        self.answer()
