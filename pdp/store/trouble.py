"""Errors of SQL libraries, in our words: away for now, or refused for good."""

from types import TracebackType

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from pdp.errors import Conflict, PdpError, Unavailable

_REFUSALS = ("22", "23")
"""Classes of SQLSTATE: a value, or a constraint."""


class translated:  # noqa: N801  A context manager reads as a verb.
    """Raises `Unavailable` where SQL does not answer, `Conflict` where it never will take this."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, SQLAlchemyError):
            raise _translation(error) from error
        if isinstance(error, OSError):
            raise Unavailable(f"the database does not answer: {reason_of(error)}") from error
        if isinstance(error, OverflowError | UnicodeError):
            raise Conflict(f"the database refuses: {_UNFIT}") from error


def reason_of(error: SQLAlchemyError | OSError) -> str:
    """Return a library error in one line, without statement and parameters."""
    if isinstance(error, OSError):
        return "no answer in time" if isinstance(error, TimeoutError) else _first_line(error)
    if _state(error) == _OF_THE_DRIVER:
        return _UNFIT  # Its words would show the value.
    return _first_line(error.orig if isinstance(error, DBAPIError) and error.orig else error)


_UNFIT = "a value is not one that it can hold"
_OF_THE_DRIVER = "22000"
"""SQLSTATE that asyncpg gives to what it does not send."""


def _translation(error: SQLAlchemyError) -> PdpError:
    if isinstance(error, IntegrityError | DataError) or _state(error)[:2] in _REFUSALS:
        return Conflict(f"the database refuses: {reason_of(error)}")
    return Unavailable(f"the database does not answer: {reason_of(error)}")


def _state(error: SQLAlchemyError) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _first_line(error: BaseException) -> str:
    # SQLAlchemy puts the class of asyncpg's error before its words.
    text = str(error).partition("\n")[0]
    return (text.rpartition("'>: ")[2] if text.startswith("<class ") else text)[:200]
