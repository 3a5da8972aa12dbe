"""Redis is away: not an answer, and maybe no statement about what was done."""

from pdp.errors import Unavailable


class Away(Unavailable):
    """Redis did not answer in time, or is known not to.

    `maybe_done`: what was asked has been sent, and may be done, now or later. `is_busy`: it was
    not even sent, for so much else was; that says nothing about Redis. `is_refused`: it answers,
    and has not done it.
    """

    def __init__(
        self,
        message: str,
        *,
        maybe_done: bool = False,
        is_busy: bool = False,
        is_refused: bool = False,
    ) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done
        self.is_busy = is_busy
        self.is_refused = is_refused
