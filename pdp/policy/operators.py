"""The operators of conditions: one table for the parser and the reference (docs/policy.md)."""

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy import client, daytime, moment, names
from pdp.policy.attributes import Attributes
from pdp.policy.budget import Budget, Period, read_amount
from pdp.policy.names import NameList


class Test(Protocol):
    """A condition on the request alone."""

    def holds(self, request: Attributes) -> bool | None:
        """Compare; None: the request lacks the attribute."""
        ...


class Operator(Struct, frozen=True):
    """`takes` is the shape of its value, `holds` when it is true, for the reference.

    `read` gives what the value means, empty if it noted a fault.
    """

    name: str
    takes: str
    holds: str
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


_NAMES = "list of names, or object of such lists by resource type; globs allowed"
_USD = "USD, 0 to 9,000,000, at most 9 decimals"
_NETWORKS = "list of addresses and CIDRs"
_INSTANT = "RFC 3339 time with offset"

_TABLE: Final = (
    Operator(
        "time_between",
        "object: `start`, `end` (`HH:MM`), `timezone` (IANA), optional `days` (`mon` to `sun`)",
        "the wall clock of the timezone is in the span, which starts on one of the days",
        _test(daytime.read_time_between),
    ),
    Operator("in", _NAMES, "the request's name is in the list", names.read_in),
    Operator("not_in", _NAMES, "the request's name is not in the list", names.read_not_in),
    Operator("daily_budget_under", _USD, "spend of the day < amount", _budget("day", under=True)),
    Operator("daily_budget_over", _USD, "spend of the day >= amount", _budget("day", under=False)),
    Operator(
        "monthly_budget_under", _USD, "spend of the month < amount", _budget("month", under=True)
    ),
    Operator(
        "monthly_budget_over", _USD, "spend of the month >= amount", _budget("month", under=False)
    ),
    Operator("total_budget_under", _USD, "spend in all < amount", _budget("total", under=True)),
    Operator("total_budget_over", _USD, "spend in all >= amount", _budget("total", under=False)),
    Operator("ip_in", _NETWORKS, "the client's address is in one", _test(client.read_ip_in)),
    Operator(
        "not_ip_in", _NETWORKS, "the client's address is in none", _test(client.read_not_ip_in)
    ),
    Operator("before", _INSTANT, "now < time", _test(moment.read_before)),
    Operator("after", _INSTANT, "now >= time", _test(moment.read_after)),
    Operator(
        "max_tokens_under",
        "integer, 1 or more",
        "the client asks for fewer output tokens",
        _test(client.read_max_tokens_under),
    ),
    Operator(
        "metadata_equals",
        "object of strings",
        "every name has this value in the request's metadata",
        _test(client.read_metadata_equals),
    ),
)

OPERATORS: Final[dict[str, Operator]] = {operator.name: operator for operator in _TABLE}
