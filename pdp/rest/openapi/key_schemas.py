"""Schemas of keys: what makes and changes them, and what is shown of them."""

from typing import Final

from pdp.actions import ACTIONS
from pdp.control.key_document import ACCESS, EMAIL, EVENTS, KEY_TYPES, URL
from pdp.control.listing import STATUSES
from pdp.control.rotation import LONGEST_GRACE
from pdp.control.temporary import LONGEST
from pdp.quota.parse import MOST_COUNTED, MOST_PER_PERIOD
from pdp.rest.openapi.schema import (
    COUNT,
    FLAG,
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
    whole,
)

_GLOB: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}
_USD: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 9_000_000}
_TOKENS: Final = whole(MOST_COUNTED)
_RATE: Final = whole(MOST_PER_PERIOD)
_PERCENTAGES: Final = listed(whole(100, 1))
_ID: Final[Schema] = {
    "type": "string",
    "maxLength": 128,
    "pattern": r"^(?! )[\x20-\x7e]*(?<! )$",
}

PERMISSIONS: Final = closed(
    {
        "models": nullable(listed(_GLOB, "Globs. Absent: any model; empty: none.")),
        "providers": nullable(listed(_GLOB, "Globs. Absent: any provider; empty: none.")),
        "actions": nullable(listed(_GLOB, f"Globs of {', '.join(ACTIONS)}.")),
        "manage_keys": FLAG,
        "view_all_usage": FLAG,
        "manage_billing": FLAG,
        "daily_budget": nullable({**_USD, "description": "USD; as budget_limits.daily."}),
        "monthly_budget": nullable({**_USD, "description": "USD; as budget_limits.monthly."}),
        "rate_limit_per_minute": nullable(_RATE),
        "max_requests": nullable(_TOKENS),
    },
    description="Guards, rights of administration, and short forms of limits.",
)

_ON_BACKEND_ERROR: Final = {
    **nullable(one_of(["deny", "allow"])),
    "description": "What these limits do while Redis is away; default: PDP_ON_BACKEND_ERROR.",
}

_LIMITS: Final = {
    "rate_limits": closed(
        {
            **{f"per_{period}": nullable(_RATE) for period in ("second", "minute", "hour", "day")},
            "burst": nullable(whole(MOST_PER_PERIOD, 1)),
        },
        description="0 blocks, null is no limit. `burst` is the capacity of the shortest period.",
    ),
    "budget_limits": closed(
        {
            "daily": nullable(_USD),
            "monthly": nullable(_USD),
            "total": nullable(_USD),
            "currency": nullable(one_of(["USD"])),
            "on_backend_error": _ON_BACKEND_ERROR,
        },
        description="USD. What is spent, and what requests in flight may cost, stays within.",
    ),
    "token_limits": closed(
        {
            **{
                name: nullable(_TOKENS) for name in ("daily", "monthly", "total", "per_request_max")
            },
            "on_backend_error": _ON_BACKEND_ERROR,
        }
    ),
}

_ALERTS: Final = {
    "budget_alerts": closed(
        {
            "thresholds": nullable(_PERCENTAGES),
            "notify_email": nullable(text(320, pattern=f"^{EMAIL}$")),
        }
    ),
    "alerts": closed(
        {
            "budget_threshold": nullable(_PERCENTAGES),
            "rate_limit_percentage": nullable(whole(100, 1)),
            "failed_auth_threshold": nullable(whole(1_000_000, 1)),
            "unusual_patterns": nullable(FLAG),
        }
    ),
    "webhooks": closed(
        {
            "enabled": nullable(FLAG),
            "url": nullable(text(2000, pattern=f"^{URL}$")),
            "events": nullable(listed(one_of(EVENTS))),
            "secret": nullable(text(256, "Shown as `whsec_***`.")),
        }
    ),
    "ip_allowlist": closed(
        {"enabled": FLAG, "addresses": listed(TEXT, "Addresses and CIDRs, IPv4 and IPv6.")},
        ["enabled"],
    ),
}

_AUTHORED: Final[dict[str, Schema]] = {
    "access": nullable(one_of(ACCESS, "`custom` needs permissions or a policy.")),
    "permissions": nullable(ref("Permissions")),
    "policy": nullable(ref("Policy")),
    "rate_limits": nullable(_LIMITS["rate_limits"]),
    "budget_limits": nullable(_LIMITS["budget_limits"]),
    "token_limits": nullable(_LIMITS["token_limits"]),
    "max_requests": nullable(_TOKENS),
    "budget_alerts": nullable(_ALERTS["budget_alerts"]),
    "alerts": nullable(_ALERTS["alerts"]),
    "ip_allowlist": nullable(_ALERTS["ip_allowlist"]),
    "webhooks": nullable(_ALERTS["webhooks"]),
    "metadata": nullable(
        {
            "type": "object",
            "maxProperties": 64,
            "propertyNames": {"minLength": 1, "maxLength": 128},
            "additionalProperties": {"type": "string", "maxLength": 512},
        }
    ),
}

_NAMED: Final = {"name": text(256), "description": text(2000)}

_PLACED: Final = {
    "key_type": nullable(one_of(KEY_TYPES, "Default: application.")),
    "organization_id": nullable(_ID),
    "team_id": nullable(_ID),
    "user_id": nullable(_ID),
    "permissions_apply_to": nullable(
        one_of(["self", "subtree"], "Whether its guards bind the keys below as well.")
    ),
    "environment": nullable(text(16, "In the prefix of the secret.", "^[a-z0-9]{1,16}$")),
}

_EXPIRES: Final = nullable(instant("In the past: the key is expired from its beginning."))

_PARENT: Final = {"parent_key_id": nullable(text(64, "Default: by team, else the root."))}

_NEW: Final = {**{name: nullable(each) for name, each in _NAMED.items()}, **_PLACED, **_AUTHORED}

_SHOWN: Final[dict[str, Schema]] = {
    "id": TEXT,
    **_NAMED,
    "status": one_of(STATUSES),
    "key_type": one_of(KEY_TYPES),
    "organization_id": TEXT,
    "team_id": nullable(TEXT),
    "user_id": nullable(TEXT),
    "parent_key_id": nullable(TEXT),
    "granted_by": nullable(TEXT),
    "permissions_apply_to": one_of(["self", "subtree"]),
    "environment": TEXT,
    **_AUTHORED,
    "effective_limits": listed(ref("EffectiveLimit"), "Short and long forms alike."),
    "prefix": TEXT,
    "last_four": TEXT,
    "created_at": instant(),
    "expires_at": nullable(instant()),
    "last_used_at": nullable(instant()),
    "rotated_at": nullable(instant()),
    "rotation_age_days": {**COUNT, "description": "Age of its newest secret."},
    "temporary": FLAG,
    "version": {**COUNT, "description": "The ETag."},
}

_WARNINGS: Final = {"warnings": listed(TEXT, "What of the document is of no effect, and why.")}
_REPLAYED: Final = {"idempotent_replayed": {"const": True}}


def _shown(description: str, **more: Schema) -> Schema:
    return closed({**_SHOWN, **more}, list(_SHOWN), description)


_API_KEY: Final[dict[str, Schema]] = {
    "api_key": {
        **TEXT,
        "description": "The raw key: here and never again. Absent where a request is replayed.",
    }
}

_ENDS: Final[dict[str, Schema]] = {
    "expires_in": {**COUNT, "description": "Of a temporary key that is made: its seconds."}
}

KEY_SCHEMAS: Final[dict[str, Schema]] = {
    "Permissions": PERMISSIONS,
    "NewKey": closed({**_NEW, **_PARENT, "expires_at": _EXPIRES}),
    "NewTemporaryKey": closed(
        {**_NEW, "expires_in": whole(LONGEST, 1, "Seconds.")}, ["expires_in"]
    ),
    "KeyPatch": {
        **closed(
            {
                **_NEW,
                "expires_at": _EXPIRES,
                "granted_by": nullable(text(64, "The key that asks: it takes the grant over.")),
            }
        ),
        "description": "A JSON Merge Patch: null removes, what is absent stays. Fields of the "
        "resource that cannot change may come back as they are.",
        "additionalProperties": True,
    },
    "Rotation": closed(
        {
            "grace_period": whole(
                LONGEST_GRACE, description="Seconds for which the old secrets live on; default 0."
            )
        }
    ),
    "CompromiseReport": closed({"reason": text(500)}),
    "EffectiveLimit": closed(
        {
            "name": TEXT,
            "unit": one_of(["nano_usd", "tokens", "requests"]),
            "period": TEXT,
            "limit": COUNT,
            "burst": COUNT,
        },
        ["name", "unit", "period", "limit"],
    ),
    "Key": _shown("A key, without its secret.", **_WARNINGS),
    "KeyWithSecret": _shown(
        "A key with its new secret.", **_API_KEY, **_ENDS, **_WARNINGS, **_REPLAYED
    ),
    "RevokedKey": _shown(
        "A revoked key.",
        live_children={**COUNT, "description": "Keys below that go on working."},
    ),
    "KeyList": full({"keys": listed(ref("Key")), "next_cursor": nullable(TEXT)}),
}
