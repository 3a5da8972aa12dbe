"""The OpenAPI document, made of the table of operations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pdp import __version__
from pdp.rest.answer import JSON
from pdp.rest.faults import CODES
from pdp.rest.openapi.key_schemas import KEY_SCHEMAS
from pdp.rest.openapi.other_schemas import OTHER_SCHEMAS
from pdp.rest.openapi.policy_schemas import POLICY_SCHEMAS
from pdp.rest.openapi.price_schemas import PRICE_SCHEMAS
from pdp.rest.openapi.schema import Schema, ref
from pdp.rest.operation import ID, Operation
from pdp.rest.query import Parameter

_SCHEMAS: Final[dict[str, Schema]] = {
    **KEY_SCHEMAS,
    **POLICY_SCHEMAS,
    **PRICE_SCHEMAS,
    **OTHER_SCHEMAS,
}

_ALL: Final = (
    *("invalid_request", "missing_key", "invalid_api_key", "key_expired", "key_revoked"),
    *("key_suspended", "ip_not_allowed", "internal_error", "unavailable"),
)
"""Codes that every operation can answer with."""

_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Of a key.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9_-]+$"},
    "example": "key_6f2a9c1d4e8b7035f1a2c3d4",
}
_PRICE_ID: Final = {
    **_ID,
    "description": "Of a price.",
    "example": "price_6f2a9c1d4e8b7035f1a2c3d4",
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A name for this request, such as a UUID. Sent again within 24 hours, it does "
    "nothing and answers with the resource, without the secret and with `idempotent_replayed`.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the resource as you have seen it; `*` or absent: any.",
    "schema": {"type": "string", "pattern": r'^(\*|"[0-9a-f]{1,18}")$'},
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-API-Key-ID": {
        "name": "X-API-Key-ID",
        "in": "header",
        "description": "As `api_key_id`.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    }
}

_TEXT: Final = {"schema": {"type": "string"}}
_EVERY_ANSWER: Final = {
    "x-request-id": {"description": "Yours, or made here.", **_TEXT},
    "cache-control": {"description": "Always `no-store`.", **_TEXT},
}
_ETAG: Final = {
    "etag": {"description": "What tells this state from others, for `If-Match`.", **_TEXT}
}
_LOCATION: Final = {"location": {"description": "The path of what was made.", **_TEXT}}
_BY_STATUS: Final[dict[int, dict[str, Any]]] = {
    401: {"www-authenticate": {"description": "Always `Bearer`.", **_TEXT}},
    405: {"allow": {"description": "The methods of the path.", **_TEXT}},
    503: {"retry-after": {"description": "Seconds.", "schema": {"type": "integer"}}},
}


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Visca PDP admin API",
            "version": __version__,
            "description": "Keys, policies, usage and the audit log of Visca PDP. Unknown fields "
            "and parameters are errors that name them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"x-api-key": []}, {"api-key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {
            "schemas": {**_SCHEMAS, "Error": _error_schema()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    content = operation.content
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "parameters": list(_parameters(operation)),
        "responses": {str(operation.status): _success(operation), **_failures(operation)},
    }
    if content is not None:
        examples = {name: {"value": value} for name, value in content.examples.items()}
        body = {"schema": ref(content.schema), "examples": examples}
        described["requestBody"] = {
            "required": not content.optional,
            "content": dict.fromkeys(content.types, body),
        }
    return described


def _parameters(operation: Operation) -> Iterable[Mapping[str, Any]]:
    if ID in operation.path:
        yield _PRICE_ID if operation.tag == "prices" else _ID
    yield from map(_query, operation.parameters)
    yield from (HEADERS[name] for name in operation.headers)
    if operation.creates:
        yield _IDEMPOTENCY_KEY
    if operation.guarded:
        yield _IF_MATCH


def _query(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": dict(parameter.schema),
        "example": parameter.example,
    }


def _success(operation: Operation) -> dict[str, Any]:
    examples = {name: {"value": value} for name, value in operation.examples.items()}
    headers = {
        **_EVERY_ANSWER,
        **(_ETAG if operation.versioned else {}),
        **(_LOCATION if operation.status == 201 else {}),
    }
    return {
        "description": operation.summary,
        "headers": headers,
        "content": {
            JSON: {"schema": ref(operation.answer), "examples": examples},
            **{media: {"schema": {"type": "string"}} for media in operation.streams.values()},
        },
    }


def _failures(operation: Operation) -> dict[str, Any]:
    names = {*_ALL, *operation.answers}
    names |= {"not_found"} if ID in operation.path else set()
    names |= {"precondition_failed"} if operation.guarded else set()
    names |= {"conflict"} if operation.creates else set()
    if operation.content is not None:
        names |= {"body_too_large", "unsupported_media_type", "request_timeout"}
    statuses = sorted({CODES[name].status for name in names})
    return {
        str(status): _failure(status, [code for code in CODES if code in names])
        for status in statuses
    }


def _failure(status: int, names: Sequence[str]) -> dict[str, Any]:
    codes = [name for name in names if CODES[name].status == status]
    error = {"message": "…", "type": CODES[codes[0]].type, "param": None, "code": codes[0]}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": {**_EVERY_ANSWER, **_BY_STATUS.get(status, {})},
        "content": {JSON: {"schema": ref("Error"), "example": {"error": error}}},
    }


def _error_schema() -> Schema:
    nullable = {"type": ["string", "null"], "description": "The first place that is wrong."}
    fields = {
        "message": {"type": "string", "description": "All that is wrong, and what to do."},
        "type": {"type": "string", "enum": sorted({code.type for code in CODES.values()})},
        "param": nullable,
        "code": {"type": "string", "enum": sorted(CODES)},
    }
    return {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": fields,
                "required": list(fields),
                "additionalProperties": False,
            }
        },
        "required": ["error"],
        "additionalProperties": False,
    }
