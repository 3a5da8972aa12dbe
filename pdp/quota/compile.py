"""From a key document to the scope that the counters use."""

from pdp.model import KeyRecord
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.limit import Limit, Rate
from pdp.quota.parse import AuthoredLimit, AuthoredRate, parse_limits
from pdp.quota.scope import Scope


def compile_scope(record: KeyRecord, calendar: Calendar, problems: Problems) -> Scope:
    """Return the limits of one key, ready to count; faults are noted in `problems`."""
    authored = parse_limits(record, problems)
    bounding = [each for each in authored.limits if each.period == "request"]
    counting = [each for each in authored.limits if each.period != "request"]
    return Scope(
        key_id=record.id,
        calendar=calendar,
        per_request=_limits(record, bounding),
        budgets=_limits(record, [each for each in counting if each.unit == "nano_usd"]),
        tokens=_limits(record, [each for each in counting if each.unit == "tokens"]),
        requests=_limits(record, [each for each in counting if each.unit == "requests"]),
        rates=tuple(_rate(record, each) for each in authored.rates),
    )


def _limits(record: KeyRecord, authored: list[AuthoredLimit]) -> tuple[Limit, ...]:
    return tuple(
        Limit(
            each.name,
            record.id,
            record.name,
            each.unit,
            each.period,
            each.amount,
            each.is_lenient,
        )
        for each in authored
    )


def _rate(record: KeyRecord, authored: AuthoredRate) -> Rate:
    return Rate(
        name=authored.name,
        key_id=record.id,
        key_name=record.name,
        amount=authored.amount,
        period=authored.period,
        interval=-(-authored.period // authored.amount) if authored.amount else 0,
        capacity=authored.capacity,
        slot=authored.slot,
    )
