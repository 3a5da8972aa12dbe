"""JSON Schemas of the bodies and answers of pdp/control/policies.py, for OpenAPI.

`Policy` and `NewKey` stand for the schemas of those documents, by reference.
"""

from typing import Any, Final

from pdp.actions import ACTIONS
from pdp.control.asked import FIELDS, PERIODS
from pdp.control.sample import MOST_KEYS
from pdp.quota.money import MOST_USD
from pdp.reasons import REASONS

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_SIZE: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_USD: Final[Schema] = {"type": "number", "minimum": 0, "maximum": MOST_USD}


def _closed(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_PERIODS: Final = _closed({period: _or_null(_USD) for period in PERIODS})

_REQUEST: Final[Schema] = {
    "action": {**_TEXT, "default": "chat:completions", "examples": list(ACTIONS)},
    "model": _TEXT,
    "provider": {**_TEXT, "description": "Default: derived from the model."},
    "ip_address": _TEXT,
    "max_tokens": _SIZE,
    "prompt_tokens": {**_SIZE, "default": 0},
    "metadata": {"type": "object", "additionalProperties": _TEXT},
    "at": {**_TEXT, "format": "date-time", "description": "When it comes; default: now."},
    "spend": {
        "description": "USD that the key has spent, or keys by their ids, before the request.",
        "anyOf": [_PERIODS, {"type": "object", "additionalProperties": _PERIODS}],
    },
}
assert tuple(_REQUEST) == FIELDS, "what is read is what is described"

REQUEST: Final = _closed({name: _or_null(schema) for name, schema in _REQUEST.items()})
"""`request` of a simulation."""

VALIDATE_BODY: Final[Schema] = {
    "description": "A policy, or the body that would make a key.",
    "anyOf": [
        {"$ref": "#/components/schemas/Policy"},
        {"$ref": "#/components/schemas/NewKey"},
        {"type": "object"},
    ],
}

_LOCATED: Final = _closed({"location": _TEXT, "message": _TEXT}, ("location", "message"))

VALIDATE_ANSWER: Final = _closed(
    {
        "valid": {"type": "boolean"},
        "errors": {"type": "array", "items": _LOCATED},
        "warnings": {"type": "array", "items": _LOCATED},
    },
    ("valid", "errors", "warnings"),
)

SIMULATE_BODY: Final[Schema] = {
    "description": "`request`, and beside it the fields of a key, or `keys`, or `api_key_id`.",
    "type": "object",
    "required": ["request"],
    "properties": {
        "request": REQUEST,
        "api_key_id": _or_null(
            {**_TEXT, "description": "A key that is there, with its chains and spend."}
        ),
        "policy": _or_null({"$ref": "#/components/schemas/Policy"}),
        "keys": _or_null(
            {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_KEYS,
                "items": {"type": "object"},
                "description": "Bodies of keys, root first, each with `id` and, as needed, "
                "`parent_key_id`, `granted_by` (default: the parent) and `status`.",
            }
        ),
        "key": _or_null({**_TEXT, "description": "Which of `keys` asks; default: the last."}),
        "timezone": _or_null(
            {**_TEXT, "default": "UTC", "description": "Of the keys' organization."}
        ),
    },
}

_LIMIT: Final = _closed(
    {
        "name": _TEXT,
        "key_id": _TEXT,
        "unit": {"enum": ["nano_usd", "tokens", "requests"]},
        **{name: {"type": "integer"} for name in ("limit", "spent", "held", "remaining")},
        "reset_at": _or_null({**_TEXT, "format": "date-time"}),
    },
    ("name", "key_id", "unit", "limit", "spent", "held", "remaining", "reset_at"),
)

SIMULATE_ANSWER: Final = _closed(
    {
        "decision": {"enum": ["allow", "deny"]},
        "reason": {"enum": list(REASONS)},
        "message": _TEXT,
        "http_status": {"type": "integer"},
        "matched_statement": _or_null(_TEXT),
        "key_id": _TEXT,
        "key_name": _TEXT,
        "at": {**_TEXT, "format": "date-time"},
        "retry_after": _or_null({"type": "number", "description": "Seconds."}),
        "limits": {"type": "array", "items": _LIMIT},
    },
    (
        "decision",
        "reason",
        "message",
        "http_status",
        "matched_statement",
        "key_id",
        "key_name",
        "at",
        "retry_after",
        "limits",
    ),
)

POLICY_EXAMPLES: Final[dict[str, Schema]] = {
    "validate": {
        "version": "2024-01-01",
        "statements": [
            {"effect": "Allow", "actions": ["chat:*"], "resources": ["model:gpt-4o"]},
        ],
    },
    "simulate": {
        "permissions": {"models": ["gpt-4o"]},
        "budget_limits": {"daily": 10.0},
        "request": {"model": "gpt-4o", "max_tokens": 500, "spend": {"daily": 9.99}},
    },
}
"""Bodies that work as they stand."""
