"""The key resource: what the CLI and the API show of a key."""

from typing import Any, Final

import msgspec

from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.store.keys import KeyRow
from pdp.wording import instant

SECRET_SHOWN: Final = "whsec_***"  # noqa: S105  It stands for one.
"""What is shown in place of a webhook's secret."""

_UTC = Calendar("UTC")
_DAY = 86_400 * 1_000_000_000


def resource_of(row: KeyRow, now: int) -> dict[str, Any]:
    """Return a key with the fields of the Contract, in its order, and some more.

    `version` is the number of its last change, `rotation_age_days` how old its newest
    secret is.
    """
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "status": status_of(row, now),
        "key_type": row.key_type,
        "organization_id": row.organization_id,
        "team_id": row.team_id or None,
        "user_id": row.user_id or None,
        "parent_key_id": row.parent_key_id,
        "granted_by": row.granted_by,
        "permissions_apply_to": row.permissions_apply_to,
        "environment": row.environment,
        **msgspec.structs.asdict(row.document),
        "webhooks": _without_secret(row.document.webhooks),
        "effective_limits": _effective_limits(row),
        "prefix": row.prefix,
        "last_four": row.last_four,
        "created_at": instant(row.created_at),
        "expires_at": _instant_or_none(row.expires_at),
        "last_used_at": _instant_or_none(row.last_used_at),
        "rotated_at": _instant_or_none(row.rotated_at),
        "rotation_age_days": max(0, now - (row.rotated_at or row.created_at)) // _DAY,
        "temporary": row.temporary,
        "version": row.version,
    }


def status_of(row: KeyRow, now: int) -> str:
    """Return the status to show: a live key whose time is over is `expired`."""
    if row.status == "active" and row.expires_at is not None and row.expires_at <= now:
        return "expired"
    return row.status


def _effective_limits(row: KeyRow) -> list[dict[str, Any]]:
    """Return every limit that applies to the key itself, shorthands and long forms alike."""
    scope = compile_scope(row.record(), _UTC, Problems())
    limits = [
        {"name": each.name, "unit": each.unit, "period": each.period, "limit": each.amount}
        for each in (*scope.per_request, *scope.budgets, *scope.tokens, *scope.requests)
    ]
    rates = [
        {
            "name": each.name,
            "unit": "requests",
            "period": f"{each.period // 1_000_000_000}s",
            "limit": each.amount,
            "burst": each.capacity,
        }
        for each in scope.rates
    ]
    return [*limits, *rates]


def _without_secret(webhooks: dict[str, Any] | None) -> dict[str, Any] | None:
    if webhooks is None or "secret" not in webhooks:
        return webhooks
    return {**webhooks, "secret": SECRET_SHOWN}


def _instant_or_none(ns: int | None) -> str | None:
    return None if ns is None else instant(ns)
