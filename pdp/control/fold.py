"""From spool records to ledger rows and sums: a pure fold, in the order of the records.

A row is what the audit log shows; sums are differences to add. Folding a record
whose row says that it was folded before changes nothing.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from pdp.quota.hold import Window
from pdp.records import (
    Denied,
    Expired,
    Facts,
    Held,
    Overruled,
    Record,
    Settled,
    decisions_beside,
)
from pdp.store.schema import audit
from pdp.store.text import fit, lengths_of

_LENGTHS: Final = lengths_of(audit)


class Row(Struct):
    """One row of the audit table; its fields are the columns, in their order."""

    decision_id: str
    at: int
    key_id: str
    key_name: str = ""
    request_id: str = ""
    organization_id: str = ""
    team_id: str = ""
    user_id: str = ""
    action: str = ""
    model: str = ""
    provider: str = ""
    status: str = "pending"
    reason: str = "ok"
    http_status: int = 0
    latency_ms: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: int | None = None
    charged_cost: int = 0
    charged_tokens: int = 0
    held_cost: int = 0
    held_tokens: int = 0
    reservation_id: str = ""
    usage_source: str = ""
    client_ip: str = ""
    user_agent: str = ""
    metadata: str = "{}"
    ancestors: str = "[]"


class Spend(Struct):
    """What to add to one row of key_spend."""

    cost: int = 0
    tokens: int = 0
    requests: int = 0
    held_cost: int = 0
    held_tokens: int = 0


class Usage(Struct):
    """What to add to one row of usage_daily."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: int = 0


class Owner(Struct, frozen=True):
    """Whose key it is, for records that do not say."""

    key_name: str = ""
    organization_id: str = ""
    team_id: str = ""
    user_id: str = ""


class Fold:
    """Folds records. `rows` starts with the stored rows that the records continue.

    `owners` (by key id) are for settlements of which no hold was written down: the disk
    was full, or the record lost. `beside` are `decisions_beside`, by decision, as far as
    somebody has them already.
    """

    def __init__(
        self,
        rows: dict[str, Row],
        owners: Mapping[str, Owner],
        beside: Mapping[str, tuple[str, ...]] = {},
    ) -> None:
        self.rows = rows
        self._owners = owners
        self._beside = beside
        self.changed: dict[str, Row] = {}
        # By chain: most records of a batch are of few, and each counts in nine sums of its own.
        self._moved: dict[tuple[Window, ...], Spend] = {}
        self.usage: dict[tuple[str | int, ...], Usage] = {}
        """What to add to usage_daily, by its columns before the sums."""
        self.used: dict[str, int] = {}
        """When each key was last let through (ns); a denial is no use."""

    @property
    def spend(self) -> dict[tuple[str, str, int], Spend]:
        """What to add to key_spend, by key, period and start of the window."""
        sums: dict[tuple[str, str, int], Spend] = {}
        for windows, moved in self._moved.items():
            for window in windows:
                for period, start in (("day", window.day), ("month", window.month), ("total", 0)):
                    _add(sums.setdefault((window.key_id, period, start), Spend()), moved)
        return sums

    def add(self, record: Record) -> None:
        """Fold one record."""
        if isinstance(record, Held):
            self._held(record)
        elif isinstance(record, Denied):
            self._denied(record)
        elif isinstance(record, Settled):
            self._settled(record)
        elif isinstance(record, Expired):
            self._expired(record)
        elif isinstance(record, Overruled):
            self._overruled(record)

    def _held(self, record: Held) -> None:
        hold = record.hold
        known = self.rows.get(hold.decision_id)
        if known is not None:
            self._complete(known, record)
            return
        row = _row(record.facts, record.at, [window.key_id for window in hold.windows])
        row.held_cost = hold.cost or 0
        row.held_tokens = hold.tokens
        row.reservation_id = hold.reservation_id
        self._keep(row)
        self._touch(row)
        spend = self._spend_of(hold.windows)
        spend.held_cost += row.held_cost
        spend.held_tokens += row.held_tokens
        spend.requests += 1

    def _complete(self, row: Row, record: Held) -> None:
        """Add what only the hold says: another data plane settled it, whose spool was quicker."""
        under, before = _row(record.facts, record.at, []), msgspec.structs.replace(row)
        for name in ("action", "model", "provider", "client_ip", "user_agent"):
            setattr(row, name, getattr(row, name) or getattr(under, name))
        row.metadata = _json({**record.facts.metadata, **msgspec.json.decode(row.metadata)})
        self._keep(row)
        is_named_anew = (row.model, row.provider) != (before.model, before.provider)
        if is_named_anew and row.status != "pending":
            self._use(before, record.hold.windows, -1)
            self._use(row, record.hold.windows)

    def _denied(self, record: Denied) -> None:
        if record.facts.decision_id in self.rows:
            return
        row = _row(record.facts, record.at, list(record.ancestors))
        row.status = "denied"
        row.reason = record.reason
        row.http_status = record.http_status
        self._keep(row)

    def _settled(self, record: Settled) -> None:
        row = self.rows.get(record.facts.decision_id)
        checked = row is not None
        if row is None:
            decision_id = record.facts.decision_id
            beside = self._beside.get(decision_id)
            for each in decisions_beside(record) if beside is None else beside:
                if each in self.rows:
                    return
            ancestors = [window.key_id for window in record.windows]
            row = _row(record.facts, record.started_at or record.at, ancestors)
            row.reservation_id = _fit("reservation_id", record.reservation_id)
            self._name(row)
            self._touch(row)
        elif row.status not in ("pending", "expired"):
            return
        before = msgspec.structs.replace(row)  # What is counted now; the difference changes.
        if checked:
            _override(row, record.facts)
        row.status = record.status
        row.http_status = record.http_status or row.http_status
        row.latency_ms = record.latency_ms
        row.prompt_tokens = record.prompt_tokens
        row.completion_tokens = record.completion_tokens
        row.cached_tokens = record.cached_tokens
        row.cost = record.cost
        row.usage_source = record.usage_source
        self._charge(row, before, record.cost or 0, record.counted_tokens, record.windows)
        if not checked:
            self._spend_of(record.windows).requests += 1
        self._use(row, record.windows)

    def _expired(self, record: Expired) -> None:
        row = self.rows.get(record.decision_id)
        checked = row is not None
        if row is None:
            ancestors = [window.key_id for window in record.windows]
            row = Row(record.decision_id, record.at, record.key_id, ancestors=_json(ancestors))
            row.request_id = _fit("request_id", record.request_id)
            row.reservation_id = record.reservation_id
            self._name(row)
        elif row.status != "pending":
            return
        before = msgspec.structs.replace(row)
        row.status = "expired"
        row.cost = record.cost
        row.usage_source = "none"
        self._charge(row, before, record.cost, record.tokens, record.windows)
        if not checked:
            self._spend_of(record.windows).requests += 1
        self._use(row, record.windows)

    def _overruled(self, record: Overruled) -> None:
        """Charge what counters have, whichever report was folded first."""
        names = (record.decision_id, *decisions_beside(record))
        row = next((self.rows[name] for name in names if name in self.rows), None)
        outcome = record.outcome
        charged = outcome.cost or 0, outcome.tokens
        if row is None or row.status in ("pending", "expired"):
            return  # What it is about is lost.
        if (row.charged_cost, row.charged_tokens) == charged:
            return
        before = msgspec.structs.replace(row)
        row.cost = outcome.cost
        row.prompt_tokens = outcome.prompt_tokens
        row.completion_tokens = outcome.completion_tokens
        row.cached_tokens = outcome.cached_tokens
        self._charge(row, before, *charged, record.windows)
        self._use(before, record.windows, -1)
        self._use(row, record.windows)

    def _charge(
        self, row: Row, before: Row, cost: int, tokens: int, windows: tuple[Window, ...]
    ) -> None:
        row.charged_cost, row.charged_tokens = cost, tokens
        row.held_cost = row.held_tokens = 0
        self._keep(row)
        spend = self._spend_of(windows)
        spend.cost += cost - before.charged_cost
        spend.tokens += tokens - before.charged_tokens
        spend.held_cost -= before.held_cost
        spend.held_tokens -= before.held_tokens
        if windows and before.status == "expired":
            # The expiry was used up under the model of the Check.
            usage = self._usage_row(before, windows)
            usage.requests -= 1
            usage.cost -= before.charged_cost

    def _use(self, row: Row, windows: tuple[Window, ...], times: int = 1) -> None:
        if not windows:
            return
        usage = self._usage_row(row, windows)
        usage.requests += times
        usage.prompt_tokens += times * row.prompt_tokens
        usage.completion_tokens += times * row.completion_tokens
        usage.cached_tokens += times * row.cached_tokens
        usage.cost += times * row.charged_cost

    def _usage_row(self, row: Row, windows: tuple[Window, ...]) -> Usage:
        used = (row.key_id, windows[0].day, row.model, row.provider)
        whose = (row.team_id, row.user_id, row.organization_id)
        return self.usage.setdefault((*used, *whose), Usage())

    def _spend_of(self, windows: tuple[Window, ...]) -> Spend:
        return self._moved.setdefault(windows, Spend())

    def _name(self, row: Row) -> None:
        """Say whose a row is that only its key is known of."""
        owner = self._owners.get(row.key_id)
        if owner is not None and not row.organization_id:
            row.key_name, row.organization_id = owner.key_name, owner.organization_id
            row.team_id, row.user_id = owner.team_id, owner.user_id

    def _touch(self, row: Row) -> None:
        if row.at > self.used.get(row.key_id, 0):
            self.used[row.key_id] = row.at

    def _keep(self, row: Row) -> None:
        self.rows[row.decision_id] = self.changed[row.decision_id] = row


def _add(to: Spend, moved: Spend) -> None:
    for name in Spend.__struct_fields__:
        setattr(to, name, getattr(to, name) + getattr(moved, name))


def _row(facts: Facts, at: int, ancestors: list[str]) -> Row:
    return Row(
        decision_id=facts.decision_id,
        at=at,
        key_id=facts.key_id,
        key_name=facts.key_name,
        request_id=_fit("request_id", facts.request_id),
        organization_id=facts.organization_id,
        team_id=facts.team_id,
        user_id=facts.user_id,
        action=_fit("action", facts.action),
        model=_fit("model", facts.model),
        provider=_fit("provider", facts.provider),
        client_ip=_fit("client_ip", facts.client_ip),
        user_agent=_fit("user_agent", facts.user_agent),
        metadata=_json(facts.metadata),
        ancestors=_json(ancestors),
    )


def _override(row: Row, facts: Facts) -> None:
    """Lay the facts of a report over those of the Check; empty ones say nothing."""
    for name in ("action", "model", "provider", "client_ip", "user_agent"):
        value = getattr(facts, name)
        if value:
            setattr(row, name, _fit(name, value))
    if facts.metadata:
        row.metadata = _json({**msgspec.json.decode(row.metadata), **facts.metadata})


def _fit(name: str, text: str) -> str:
    """Return what the column has room for: a caller's words must never stop the ledger."""
    length = _LENGTHS[name]
    if text.isascii() and "\0" not in text and (length is None or len(text) <= length):
        return text  # As nearly all are.
    return fit(text, length)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
