"""What Redis' client reports, in words. Pure."""

from collections.abc import Iterator

from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from pdp.counters.redis.address import Address
from pdp.wording import shown


def told(error: BaseException, address: Address, who: str = "Redis") -> str:
    """Return what is wrong, by the error or what it was raised from."""
    user = shown(address.username or "default")
    for each in _causes(error):
        if isinstance(each, AuthenticationError):
            if address.password is None:
                return f"{who} wants a password: write user:password@ before its host"
            return f"{who} refuses the password of {user}"
        if isinstance(each, NoPermissionError):
            return f"{who} does not let {user} do what is needed: {_first_line(each)}"
    says = "refuses" if isinstance(error, ResponseError) else "does not answer"
    return f"{who} {says}: {_first_line(error)}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return text[0] if text else type(error).__name__.lower()
