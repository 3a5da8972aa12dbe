"""An entry of the price book: the document that people send, and the resource that they see."""

import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from pdp.control.price_document import FEES, PRICE_FIELDS, RATES, parse_price, refuse_unknown, said
from pdp.control.price_overrides import Override, is_pattern
from pdp.errors import InvalidDocument, Problem
from pdp.form import is_model_name
from pdp.policy.moment import parse_instant
from pdp.problems import Problems
from pdp.store.prices import PriceRow
from pdp.wording import instant

FIELDS: Final = ("provider", "model", *PRICE_FIELDS, "effective_from", "effective_until")

_OWN: Final = ("id", "status", "created_at", "created_by", "version")
"""Fields of the resource that a body may repeat, as a client does that sends back what it got."""

_LATEST: Final = 2**63 - 1


class Entry(Struct, frozen=True):
    """A document that has no fault; `effective_from` None: from now on. Times in ns."""

    provider: str
    model: str
    document: str
    effective_from: int | None
    effective_until: int | None


def parse_entry(body: Any, begins: int | None = None) -> Entry:
    """Return what a document says; `begins` is when it begins that does not say so.

    Raises `InvalidDocument` with every fault.
    """
    problems = Problems()
    if not isinstance(body, dict):
        raise InvalidDocument([Problem("body", "not a JSON object")])
    refuse_unknown(body, FIELDS, "", problems)
    for name in ("provider", "model"):
        value = body.get(name)
        if value is None:
            problems.add(name, "is required: name it as requests do")
        elif not isinstance(value, str) or not is_model_name(value):
            problems.add(name, "not a name: printable ASCII without spaces, up to 256 characters")
    if isinstance(body.get("provider"), str) and is_pattern(body["provider"]):
        problems.add("provider", "not one provider: only `model` may have `*` and `?`")
    parse_price(body, "", problems)
    start = _time(body.get("effective_from"), "effective_from", problems)
    end = _time(body.get("effective_until"), "effective_until", problems)
    start = begins if start is None else start
    if start is not None and end is not None and end <= start:
        problems.add("effective_until", "not after effective_from")
    problems.raise_if_any()
    document = msgspec.json.encode(said(body)).decode()
    return Entry(body["provider"], body["model"], document, start, end)


def without_own(body: Any, resource: dict[str, Any]) -> Any:
    """Return the document in what may be a whole resource. Raises `InvalidDocument`."""
    if not isinstance(body, dict):
        return body
    problems = Problems()
    for name in _OWN:
        if name in body and body[name] != resource[name]:
            problems.add(name, "cannot be changed: leave it out")
    problems.raise_if_any()
    return {name: value for name, value in body.items() if name not in _OWN}


def _time(value: Any, at: str, problems: Problems) -> int | None:
    if value is None:
        return None
    found = parse_instant(value) if isinstance(value, str) else None
    if found is None or not 0 <= found <= _LATEST:
        problems.add(at, "not a time: write it like `2027-01-31T00:00:00Z`, before 2262")
        return None
    return found


def new_row(entry: Entry, actor_key_id: str, now: int) -> PriceRow:
    """Return an entry as it is stored, but for its version."""
    return PriceRow(
        id="price_" + secrets.token_hex(12),
        provider=entry.provider,
        model=entry.model,
        document=entry.document,
        effective_from=now if entry.effective_from is None else entry.effective_from,
        effective_until=entry.effective_until,
        created_at=now,
        created_by=actor_key_id,
        removed_at=None,
        version=0,
    )


def status_of(row: PriceRow, now: int) -> str:
    """Return one of `pdp.store.prices.STATUSES`."""
    if row.removed_at is not None:
        return "removed"
    if row.effective_until is not None and row.effective_until <= now:
        return "ended"
    return "current" if row.effective_from <= now else "scheduled"


def resource_of(row: PriceRow, now: int) -> dict[str, Any]:
    """Return an entry as people see it."""
    document = msgspec.json.decode(row.document)
    return {
        "id": row.id,
        "provider": row.provider,
        "model": row.model,
        "status": status_of(row, now),
        **{name: document.get(name) for name in (*RATES, *FEES)},
        "tiers": [
            {"above": tier["above"], **{name: tier.get(name) for name in RATES}}
            for tier in document.get("tiers", ())
        ],
        "currency": "USD",
        "effective_from": instant(row.effective_from),
        "effective_until": None if row.effective_until is None else instant(row.effective_until),
        "created_at": instant(row.created_at),
        "created_by": row.created_by,
        "version": row.version,
    }


def in_force(rows: Sequence[PriceRow], now: int) -> tuple[Override, ...]:
    """Return the entries in force at `now`, in the order in which they count.

    A name goes before a pattern, a longer pattern before a shorter one, and of entries for
    the same models that which began last.
    """
    living = [
        row
        for row in rows
        if row.effective_from <= now and (row.effective_until is None or now < row.effective_until)
    ]
    living.sort(key=_rank)
    first: dict[tuple[str, str], PriceRow] = {}
    for row in living:
        first.setdefault((row.provider, row.model.lower()), row)
    return tuple(map(_override, first.values()))


def _rank(row: PriceRow) -> tuple[Any, ...]:
    length = sum(each not in "*?" for each in row.model)
    began = (-row.effective_from, -row.created_at, -row.version, row.id)
    return (is_pattern(row.model), -length, *began)


def _override(row: PriceRow) -> Override:
    price = parse_price(msgspec.json.decode(row.document), "", Problems())
    assert price is not None, "it was parsed when it was stored"
    return Override(row.provider, row.model, price, row.id)


def boundaries(rows: Sequence[PriceRow]) -> set[int]:
    """Return when entries begin and end, in ns."""
    starts = {row.effective_from for row in rows}
    return starts | {row.effective_until for row in rows if row.effective_until is not None}
