"""Schemas of the organization, the audit log and usage."""

from typing import Final

from pdp.control.audit_query import STATUSES
from pdp.control.policy_schemas import (
    SIMULATE_ANSWER,
    SIMULATE_BODY,
    VALIDATE_ANSWER,
    VALIDATE_BODY,
)
from pdp.control.usage import GROUPS
from pdp.rest.openapi.schema import (
    COUNT,
    TEXT,
    Schema,
    closed,
    full,
    instant,
    listed,
    nullable,
    one_of,
    ref,
    text,
)

_USD: Final[Schema] = {"type": "number", "minimum": 0}

_PART: Final = {"requests": COUNT, "tokens": COUNT, "spent_usd": _USD, "held_usd": _USD}

_SPENT: Final = full(
    {
        "api_key_id": TEXT,
        "api_key_name": TEXT,
        "parent_key_id": nullable(TEXT),
        **_PART,
        "held_tokens": COUNT,
        "today": full(_PART),
        "month": full(_PART),
    },
    "A key with all below it, as its limits count.",
)

_USED: Final = closed(
    {
        **{name: nullable(TEXT) for name in GROUPS},
        "key_name": TEXT,
        "requests": COUNT,
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "cached_tokens": COUNT,
        "cost_usd": _USD,
    },
    ["requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd"],
    "With `group_by`: what was settled, each usage once.",
)

_ENTRY: Final = full(
    {
        "timestamp": instant(),
        "api_key_id": TEXT,
        "api_key_name": TEXT,
        "request_id": TEXT,
        "action": TEXT,
        "model": TEXT,
        "provider": TEXT,
        "status": one_of(STATUSES),
        "latency_ms": nullable(COUNT),
        "tokens": full({"prompt": COUNT, "completion": COUNT, "total": COUNT}),
        "cost_usd": nullable(_USD),
        "metadata": {"type": "object"},
        "ip_address": TEXT,
        "user_agent": TEXT,
        "reason": TEXT,
        "decision_id": TEXT,
        "reservation_id": TEXT,
        "organization_id": TEXT,
        "team_id": TEXT,
        "user_id": TEXT,
        "usage_source": nullable(TEXT),
    }
)

OTHER_SCHEMAS: Final[dict[str, Schema]] = {
    "AuditEntry": _ENTRY,
    "AuditLog": full({"logs": listed(ref("AuditEntry")), "next_cursor": nullable(TEXT)}),
    "Usage": full({"usage": listed({"anyOf": [_SPENT, _USED]}), "next_cursor": nullable(TEXT)}),
    "ValidateBody": VALIDATE_BODY,
    "ValidateAnswer": VALIDATE_ANSWER,
    "SimulateBody": SIMULATE_BODY,
    "SimulateAnswer": SIMULATE_ANSWER,
    "Organization": full({"id": TEXT, "name": TEXT, "timezone": TEXT, "created_at": instant()}),
    "Nothing": closed({}, description="No field, for now."),
    "OrganizationPatch": {
        **closed(
            {
                "name": nullable(text(256)),
                "timezone": {
                    **TEXT,
                    "description": "An IANA name. Days and months of limits begin there.",
                },
            }
        ),
        "description": "A JSON Merge Patch. `id` and `created_at` may come back as they are.",
        "additionalProperties": True,
    },
}
