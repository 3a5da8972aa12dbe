"""Reads the decision tables of this folder; README.md has the format."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct, field

from pdp.model import KeyRecord
from pdp.policy.chain import Attributes
from pdp.policy.moment import parse_instant

FOLDER = Path(__file__).parent
NOON = "2024-06-03T14:00:00Z"

Spend = dict[str, dict[Literal["day", "month", "total"], float]]


class Ask(Struct, frozen=True, forbid_unknown_fields=True):
    action: str = "chat:completions"
    model: str = ""
    provider: str = ""
    client_ip: str = ""
    max_tokens: int | None = None
    metadata: dict[str, str] = {}


class Expect(Struct, frozen=True, forbid_unknown_fields=True):
    allowed: bool
    reason: str = "ok"
    statement: str = ""
    message: list[str] = []


class Check(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    expect: Expect
    request: dict[str, Any] = {}
    key: str = ""
    now: str = ""
    spend: Spend | None = None


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    name: str = field(name="table")
    keys: list[dict[str, Any]]
    checks: list[Check]
    now: str = NOON
    spend: Spend = {}
    request: dict[str, Any] = {}


class Case(Struct, frozen=True):
    """One check with all it needs. `spend` in nano-USD by (key id, period)."""

    name: str
    records: tuple[KeyRecord, ...]
    key_id: str
    ask: Ask
    now: int
    spend: dict[tuple[str, str], int]
    expect: Expect

    @property
    def attributes(self) -> Attributes:
        ask = self.ask
        return Attributes(
            ask.action,
            ask.model,
            ask.provider,
            ask.client_ip,
            ask.max_tokens,
            ask.metadata,
            self.now,
        )

    def parents(self) -> list[KeyRecord]:
        return self._walk("parent_key_id")

    def granters(self) -> list[KeyRecord]:
        return self._walk("granted_by")

    def _walk(self, by: str) -> list[KeyRecord]:
        found = {record.id: record for record in self.records}
        chain = [found[self.key_id]]
        while above := getattr(chain[-1], by):
            chain.append(found[above])
        return chain


def load_cases(folder: Path = FOLDER) -> list[Case]:
    """Return every check of every table, in order."""
    return [
        case
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text("utf-8"))
        for case in _cases(path.stem, msgspec.convert(document, Table))
    ]


def _cases(stem: str, table: Table) -> list[Case]:
    records = tuple(_record(key) for key in table.keys)
    return [
        Case(
            f"{stem}: {table.name}: {check.name}",
            records,
            check.key or records[-1].id,
            msgspec.convert({**table.request, **check.request}, Ask),
            _instant(check.now or table.now),
            _nano(table.spend if check.spend is None else check.spend),
            check.expect,
        )
        for check in table.checks
    ]


def _record(key: dict[str, Any]) -> KeyRecord:
    defaults = {
        "name": key["id"],
        "version": 1,
        "organization_id": "org_1",
        "granted_by": key.get("parent_key_id", ""),
    }
    assert not key.keys() - set(KeyRecord.__struct_fields__), key
    return msgspec.convert(defaults | key, KeyRecord)


def _instant(text: str) -> int:
    at = parse_instant(text)
    assert at is not None, text
    return at


def _nano(spend: Spend) -> dict[tuple[str, str], int]:
    return {
        (key_id, period): int(Decimal(repr(usd)).scaleb(9))
        for key_id, periods in spend.items()
        for period, usd in periods.items()
    }
