"""Strict reading of the limits of a key document, long forms and shorthands alike.

Null is no limit, 0 blocks. A long form and a shorthand of the same thing both
apply; the shorthands are those of `permissions`, whose other fields are read in
pdp/policy/permissions.py.
"""

from typing import Final

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.model import KeyRecord
from pdp.problems import Problems
from pdp.quota.limit import Period, Unit
from pdp.quota.money import parse_usd

MOST_COUNTED: Final = 1_000_000_000_000_000
"""Bound of a limit in tokens or requests: sums of such stay within 64 bits."""

MOST_PER_PERIOD: Final = 1_000_000_000
"""Bound of a rate: one request a nanosecond is as fine as time is told."""

_SECOND: Final = 1_000_000_000
_PERIODS: Final[dict[str, int]] = {
    "per_second": _SECOND,
    "per_minute": 60 * _SECOND,
    "per_hour": 3600 * _SECOND,
    "per_day": 86400 * _SECOND,
}
_WINDOWS: Final[dict[str, Period]] = {"daily": "day", "monthly": "month", "total": "total"}
_ON_BACKEND_ERROR: Final = "on_backend_error"
_BUDGETS: Final[dict[str, Period]] = {"daily_budget": "day", "monthly_budget": "month"}


class AuthoredLimit(Struct, frozen=True):
    """A limit by its path in the document (`budget_limits.daily`); see `Limit`."""

    name: str
    unit: Unit
    period: Period
    amount: int
    is_lenient: bool | None = None


class AuthoredRate(Struct, frozen=True):
    """A rate by its path in the document; `period` in ns, `slot` as in `Rate`."""

    name: str
    amount: int
    period: int
    capacity: int
    slot: int


class AuthoredLimits(Struct, frozen=True):
    """All limits of one document, in the order in which they are written here."""

    limits: tuple[AuthoredLimit, ...]
    rates: tuple[AuthoredRate, ...]


def parse_limits(record: KeyRecord, problems: Problems) -> AuthoredLimits:
    """Return the limits of a key; what is wrong with them is noted in `problems`."""
    limits = [
        *_budget_limits(record.budget_limits, problems),
        *_token_limits(record.token_limits, problems),
        *_max_requests(Cursor(record.max_requests, "max_requests", problems)),
    ]
    rates = _rate_limits(record.rate_limits, problems)
    shorthands = record.permissions if isinstance(record.permissions, dict) else {}
    for field, value in shorthands.items():
        cursor = Cursor(value, f"permissions.{field}", problems)
        if field in _BUDGETS:
            limits += _budget(cursor, _BUDGETS[field])
        elif field == "max_requests":
            limits += _max_requests(cursor)
        elif field == "rate_limit_per_minute":
            rates += _rates({field: (cursor, 60 * _SECOND)}, None, slot_sign=-1)
    return AuthoredLimits(tuple(limits), tuple(rates))


def _budget_limits(document: object, problems: Problems) -> list[AuthoredLimit]:
    known = (*_WINDOWS, "currency", _ON_BACKEND_ERROR)
    fields = _fields(document, "budget_limits", known, problems)
    currency = fields.pop("currency", None)
    if currency is not None and currency.value is not None:
        currency.one_of(("USD",))
    lenient = _is_lenient(fields)
    return [
        limit for name, each in fields.items() for limit in _budget(each, _WINDOWS[name], lenient)
    ]


def _budget(cursor: Cursor, period: Period, is_lenient: bool | None = None) -> list[AuthoredLimit]:
    if cursor.value is None:
        return []
    amount = parse_usd(cursor.value, cursor.at, cursor.problems)
    if amount is None:
        return []
    return [AuthoredLimit(cursor.at, "nano_usd", period, amount, is_lenient)]


def _is_lenient(fields: dict[str, Cursor]) -> bool | None:
    """Return whether the limits of a document allow without Redis; None: it does not say."""
    choice = fields.pop(_ON_BACKEND_ERROR, None)
    if choice is None or choice.value is None:
        return None
    return choice.one_of(("deny", "allow")) == "allow"


def _token_limits(document: object, problems: Problems) -> list[AuthoredLimit]:
    periods: dict[str, Period] = {**_WINDOWS, "per_request_max": "request"}
    fields = _fields(document, "token_limits", (*periods, _ON_BACKEND_ERROR), problems)
    lenient, found = _is_lenient(fields), []
    for name, cursor in fields.items():
        amount = _amount(cursor, MOST_COUNTED)
        if amount is not None:
            found.append(AuthoredLimit(cursor.at, "tokens", periods[name], amount, lenient))
    return found


def _max_requests(cursor: Cursor) -> list[AuthoredLimit]:
    amount = _amount(cursor, MOST_COUNTED)
    return [] if amount is None else [AuthoredLimit(cursor.at, "requests", "total", amount)]


def _rate_limits(document: object, problems: Problems) -> list[AuthoredRate]:
    fields = _fields(document, "rate_limits", (*_PERIODS, "burst"), problems)
    burst_at = fields.pop("burst", None)
    given = {name: (fields[name], _PERIODS[name]) for name in _PERIODS if name in fields}
    burst = None
    if burst_at is not None and burst_at.value is not None:
        burst = burst_at.whole(1)
        if burst is not None and burst > MOST_PER_PERIOD:
            burst_at.fault(f"must be at most {MOST_PER_PERIOD:,}")
        if all(cursor.value is None for cursor, _ in given.values()):
            burst_at.fault("needs a period: add one such as `per_minute`")
    return _rates(given, burst)


def _rates(
    given: dict[str, tuple[Cursor, int]], burst: int | None, slot_sign: int = 1
) -> list[AuthoredRate]:
    """Return rates from the shortest period on; `burst` is the capacity of the first."""
    found: list[AuthoredRate] = []
    for cursor, period in given.values():
        amount = _amount(cursor, MOST_PER_PERIOD)
        if amount is None:
            continue
        capacity = burst if burst is not None and not found else amount
        found.append(
            AuthoredRate(cursor.at, amount, period, capacity if amount else 0, slot_sign * period)
        )
    return found


def _fields(
    document: object, at: str, known: tuple[str, ...], problems: Problems
) -> dict[str, Cursor]:
    return {} if document is None else Cursor(document, at, problems).fields(known) or {}


def _amount(cursor: Cursor, most: int) -> int | None:
    if cursor.value is None:
        return None
    amount = cursor.whole(0)
    if amount is not None and amount > most:
        cursor.fault(f"must be at most {most:,}")
        return None
    return amount
