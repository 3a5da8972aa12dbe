"""The request of a simulation, and the spend that it meets."""

from typing import Any, Final, Literal, get_args

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.model import Request
from pdp.policy.moment import parse_instant
from pdp.quota.money import parse_usd
from pdp.wording import shown

Period = Literal["daily", "monthly", "total"]
Spend = dict[str, dict[Period, int]]
"""Nano-USD by key id and period; a period that is left out is 0."""

PERIODS: Final = get_args(Period)
FIELDS: Final = (
    "action",
    "model",
    "provider",
    "ip_address",
    "max_tokens",
    "prompt_tokens",
    "metadata",
    "at",
    "spend",
)
_LATEST: Final = 2**63 - 1
_MOST_TOKENS: Final = 2**63 - 1


class Asked(Struct, frozen=True):
    """A request to decide as if it came at `at` (ns); `spend` None: what the keys really spent."""

    request: Request
    at: int
    spend: Spend | None


def read_asked(cursor: Cursor, key_id: str, now: int) -> Asked | None:
    """Read a request; `key_id` is whose spend it is where no key is named; null is absent.

    None: there are faults, which are noted.
    """
    problems, before = cursor.problems, len(cursor.problems)
    fields = {
        name: each for name, each in (cursor.fields(FIELDS) or {}).items() if each.value is not None
    }
    texts = {
        name: fields[name].text() or "" for name in ("action", "model", "provider", "ip_address")
        if name in fields
    }  # fmt: skip
    sizes = {
        name: _size(fields[name]) for name in ("max_tokens", "prompt_tokens") if name in fields
    }
    metadata = _metadata(fields["metadata"]) if "metadata" in fields else None
    at = _instant(fields["at"]) if "at" in fields else now
    spend = _spend(fields["spend"], key_id) if "spend" in fields else None
    if len(problems) > before:
        return None
    request = Request(
        request_id="",
        api_key=key_id,
        action=texts.get("action", "chat:completions"),
        model=texts.get("model", ""),
        provider=texts.get("provider", ""),
        client_ip=texts.get("ip_address", ""),
        prompt_tokens=sizes.get("prompt_tokens") or 0,
        max_output_tokens=sizes.get("max_tokens"),
        metadata=metadata,
        dry_run=True,
    )
    return Asked(request, at, spend)


def _size(cursor: Cursor) -> int | None:
    amount = cursor.whole(0)
    if amount is not None and amount > _MOST_TOKENS:
        cursor.fault("must be an integer of 64 bits")
        return None
    return amount


def _metadata(cursor: Cursor) -> dict[str, str] | None:
    if cursor.value == {}:
        return {}
    pairs = cursor.pairs()
    return None if pairs is None else {name: each.text() or "" for name, each in pairs}


def _instant(cursor: Cursor) -> int:
    text = cursor.text()
    if text is None:
        return 0
    at = parse_instant(text)
    if at is None:
        cursor.fault(f"{shown(text)} is no time: write it like `2025-12-31T23:59:59Z`")
    elif not 0 <= at <= _LATEST:
        cursor.fault("must be a time from 1970 to 2262")
    return at or 0


def _spend(cursor: Cursor, key_id: str) -> Spend:
    """Read the spend of the key, or of keys by their ids."""
    value: Any = cursor.value
    if isinstance(value, dict) and value and all(isinstance(each, dict) for each in value.values()):
        pairs = cursor.pairs() or []
        return {name: _periods(each) for name, each in pairs}
    return {key_id: _periods(cursor)}


def _periods(cursor: Cursor) -> dict[Period, int]:
    fields = cursor.fields(PERIODS) or {}
    found: dict[Period, int] = {}
    for period in PERIODS:
        if period in fields and fields[period].value is not None:
            each = fields[period]
            found[period] = parse_usd(each.value, each.at, each.problems) or 0
    return found
