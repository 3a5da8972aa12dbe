"""The operators of conditions: one table for the parser and docs/policy-reference.md."""

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy import client, daytime, moment, names
from pdp.policy.attributes import Attributes
from pdp.policy.budget import Budget, Period, read_amount
from pdp.policy.names import NameList


class Test(Protocol):
    """A condition on the request alone."""

    @property
    def words(self) -> str:
        """What it takes, for the messages that clients read: the operator and its value."""
        ...

    def holds(self, request: Attributes) -> bool | None:
        """Compare; None: the request lacks the attribute."""
        ...


class Operator(Struct, frozen=True):
    """`takes` is the shape of its value, `example` such a value (JSON).

    `compares` is what of the request or the key it looks at, `holds` when it is true, and
    `lacks` when a request has nothing to look at (empty: it always has). `read` gives what
    the value means, empty if it noted a fault.
    """

    name: str
    takes: str
    example: Any
    compares: str
    holds: str
    lacks: str
    read: Callable[[Cursor], tuple[NameList | Test | Budget, ...]]


def _test(read: Callable[[Cursor], Test | None]) -> Callable[[Cursor], tuple[Test, ...]]:
    def read_one(cursor: Cursor) -> tuple[Test, ...]:
        test = read(cursor)
        return () if test is None else (test,)

    return read_one


def _budget(period: Period, *, under: bool) -> Callable[[Cursor], tuple[Budget, ...]]:
    def read_one(cursor: Cursor) -> tuple[Budget, ...]:
        amount = read_amount(cursor)
        return () if amount is None else (Budget(period, under, amount),)

    return read_one


_NAMES: Final = "list of names, or object of such lists by resource type; globs allowed"
_NAME: Final = "the request's name of the resource type: its model or its provider"
_NO_NAME: Final = "the action bears no model (`models:list`, `usage:read`)"
_USD: Final = "USD, 0 to 9,000,000, at most 9 decimals"
_NETWORKS: Final = "list of addresses and CIDRs"
_ADDRESS: Final = "the client's address"
_NO_ADDRESS: Final = "the client's address is not told or is none"
_INSTANT: Final = "RFC 3339 time with offset"
_TIME: Final = "the time of the request"


def _budgets() -> Iterator[Operator]:
    periods: tuple[tuple[str, str, Period], ...] = (
        ("daily", "of the day", "day"),
        ("monthly", "of the month", "month"),
        ("total", "in all", "total"),
    )
    for word, of_it, period in periods:
        spend = (
            f"what the key that carries the statement, with all keys below it, has spent and "
            f"holds {of_it.replace('of the', 'in the current')}, before this request"
        )
        for side, sign in (("under", "<"), ("over", ">=")):
            yield Operator(
                f"{word}_budget_{side}",
                _USD,
                100.0,
                spend,
                f"spend {of_it} {sign} amount",
                "",
                _budget(period, under=side == "under"),
            )


_TABLE: Final = (
    Operator(
        "time_between",
        "object: `start`, `end` (`HH:MM`), `timezone` (IANA), optional `days` (`mon` to `sun`)",
        {
            "start": "08:00",
            "end": "18:00",
            "timezone": "Europe/Berlin",
            "days": ["mon", "tue", "wed", "thu", "fri"],
        },
        _TIME,
        "the wall clock of the timezone is in the span, which starts on one of the days",
        "",
        _test(daytime.read_time_between),
    ),
    Operator(
        "in",
        _NAMES,
        {"model": ["gpt-4o", "gpt-4o-*"]},
        _NAME,
        "the request's name is in the list",
        _NO_NAME,
        names.read_in,
    ),
    Operator(
        "not_in",
        _NAMES,
        {"provider": ["openai", "anthropic"]},
        _NAME,
        "the request's name is not in the list",
        _NO_NAME,
        names.read_not_in,
    ),
    *_budgets(),
    Operator(
        "ip_in",
        _NETWORKS,
        ["203.0.113.0/24", "2001:db8::/32"],
        _ADDRESS,
        "the client's address is in one",
        _NO_ADDRESS,
        _test(client.read_ip_in),
    ),
    Operator(
        "not_ip_in",
        _NETWORKS,
        ["198.51.100.42"],
        _ADDRESS,
        "the client's address is in none",
        _NO_ADDRESS,
        _test(client.read_not_ip_in),
    ),
    Operator(
        "before",
        _INSTANT,
        "2030-12-31T23:59:59Z",
        _TIME,
        "now < time",
        "",
        _test(moment.read_before),
    ),
    Operator(
        "after",
        _INSTANT,
        "2024-01-01T00:00:00+01:00",
        _TIME,
        "now >= time",
        "",
        _test(moment.read_after),
    ),
    Operator(
        "max_tokens_under",
        "integer, 1 or more",
        4000,
        "the output tokens that the client asks for",
        "the client asks for fewer output tokens",
        "the client bounds no output",
        _test(client.read_max_tokens_under),
    ),
    Operator(
        "metadata_equals",
        "object of strings",
        {"team": "support"},
        "the key's metadata, overlaid by that of the caller (a proxy takes none from clients)",
        "every name has this value in the request's metadata",
        "a name is not in the metadata, and no other has another value",
        _test(client.read_metadata_equals),
    ),
)

OPERATORS: Final[dict[str, Operator]] = {operator.name: operator for operator in _TABLE}
