"""JSON Merge Patch (RFC 7396) of a key: what is authored can change, what it is cannot."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pdp.control.access import Actor
from pdp.control.key_document import parse_key_document
from pdp.control.resource import SECRET_SHOWN, resource_of
from pdp.problems import Problems
from pdp.store.keys import KeyRow
from pdp.wording import shown

_FIXED: Final = (
    *("key_type", "organization_id", "team_id", "user_id", "parent_key_id", "environment"),
    *("id", "status", "effective_limits", "prefix", "last_four", "created_at"),
    *("rotated_at", "version", "temporary"),
)
"""Fields of the resource that a patch may repeat, as a client does that sends back what it got."""
_MOVING: Final = ("last_used_at", "rotation_age_days")
"""Such fields that change by themselves: what came back may be old."""
_LIFE: Final = "suspend, resume or revoke the key instead"


def patched(row: KeyRow, patch: object, actor: Actor, now: int, problems: Problems) -> KeyRow:
    """Return the row after a patch; faults go to `problems`, and then the row is as it was.

    `granted_by` may be set to the key that asks: it takes the grant over.
    """
    if not isinstance(patch, Mapping):
        problems.add("body", "not a JSON object")
        return row
    patch = dict(patch)
    shown_now = resource_of(row, now)
    _refuse_fixed(patch, shown_now, problems)
    if patch.get("expires_at") == shown_now["expires_at"]:
        patch.pop("expires_at", None)  # It is shown in whole seconds, and kept as it is.
    granted_by = _granter(patch, row, actor, problems)
    try:
        body = merged(_body_of(row), _with_secret(patch, row))
    except RecursionError:
        problems.add("body", "nested too deeply")
        return row
    document = parse_key_document(body, problems)
    if document is None:
        return row
    expires_at = document.expires_at if "expires_at" in patch else row.expires_at
    return msgspec.structs.replace(
        row,
        name=document.name,
        description=document.description,
        granted_by=granted_by,
        permissions_apply_to=document.permissions_apply_to,
        document=document.authored,
        expires_at=expires_at,
    )


def _refuse_fixed(patch: dict[str, Any], shown_now: dict[str, Any], problems: Problems) -> None:
    for name in _MOVING:
        patch.pop(name, None)
    for name in _FIXED:
        if name in patch and patch.pop(name) != shown_now[name]:
            remedy = _LIFE if name == "status" else "leave it out, or make another key"
            problems.add(name, f"cannot be changed: {remedy}")


def _granter(patch: dict[str, Any], row: KeyRow, actor: Actor, problems: Problems) -> str | None:
    asked = patch.pop("granted_by", row.granted_by)
    if asked == row.granted_by:
        return row.granted_by
    if asked != actor.key_id or row.id == actor.key_id:
        problems.add("granted_by", f"can only become the key that asks, {shown(actor.key_id)}")
    return actor.key_id


def _with_secret(patch: dict[str, Any], row: KeyRow) -> dict[str, Any]:
    """Leave a secret alone that came back as it is shown."""
    webhooks = patch.get("webhooks")
    if isinstance(webhooks, dict) and webhooks.get("secret") == SECRET_SHOWN:
        kept = {name: value for name, value in webhooks.items() if name != "secret"}
        if (row.document.webhooks or {}).get("secret") is not None:
            return {**patch, "webhooks": kept}
    return patch


def _body_of(row: KeyRow) -> dict[str, Any]:
    """Return the body that makes this key again, but for its place and its end."""
    body = {
        "name": row.name,
        "description": row.description,
        "key_type": row.key_type,
        "team_id": row.team_id,
        "user_id": row.user_id,
        "permissions_apply_to": row.permissions_apply_to,
        **msgspec.structs.asdict(row.document),
    }
    return {name: value for name, value in body.items() if value not in (None, "")}


def merged(target: Any, patch: Any) -> Any:
    """Return the result of RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    found = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found
