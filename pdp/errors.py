"""What can go wrong, as types. A denial is not here: it is a value (`Decision`).

Messages are lower case, without a full stop, with user input in backticks and
what to do next. Library errors are translated to these at the boundary.
"""

import errno
from typing import Final

from msgspec import Struct

UNDECIDED: Final = "it cannot be decided at the moment: try again"
"""What an API client is told where the reason is the operator's to know."""


class PdpError(Exception):
    """Base of every error that this project raises on purpose."""


class Unavailable(PdpError):
    """Could not decide or store now; trying again later can succeed.

    `retry_after` is in seconds.
    """

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(Unavailable):
    """The other side will not take this, now or later: somebody has to look into it."""


class SpoolFailed(Unavailable):
    """A record could not be written to the spool.

    `kept`: it is remembered and written once that works again; else it is lost.
    """

    def __init__(self, message: str, *, kept: bool = False) -> None:
        super().__init__(message)
        self.kept = kept


class StartRefused(PdpError):
    """The process must not start as configured; the message is one line that says why."""


def cannot_listen(setting: str, address: str, error: Exception) -> StartRefused:
    """Return what to raise where an address cannot be listened on."""
    reason, todo = "use `host:port` or `unix:/path`", ""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror.lower()
        todo = _WHERE_TO_LISTEN.get(error.errno or 0, "")
    return StartRefused(f"{setting}: cannot listen on `{address}`: {reason}{todo}")


_WHERE_TO_LISTEN: Final = {
    errno.EADDRINUSE: ": stop what listens there, or set another address",
    errno.EADDRNOTAVAIL: ": use an address of this machine",
    errno.EACCES: ": use a port above 1023, or a folder that may be written to",
}


class NotFound(PdpError):
    """There is no such thing within the caller's reach."""


class Conflict(PdpError):
    """The change contradicts what is there already."""


class PreconditionFailed(Conflict):
    """The thing is not any more what the caller has seen of it."""


class Forbidden(PdpError):
    """The caller has no right to do this."""


class Unauthorized(PdpError):
    """Nobody knows who calls, or from there they may not. `reason` is one of `REASONS`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Problem(Struct, frozen=True):
    """One fault in a document: where (`policy.statements[2].effect`) and what."""

    location: str
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}"


class InvalidDocument(PdpError):
    """A document has faults; `problems` has them all, in document order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems
