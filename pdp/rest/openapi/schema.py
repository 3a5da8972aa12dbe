"""Words for JSON Schemas, so that the tables of fields read as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(
    properties: Mapping[str, Schema], required: Sequence[str] = (), description: str = ""
) -> Schema:
    """Return an object that has no other fields."""
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "properties": dict(properties),
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def full(properties: Mapping[str, Schema], description: str = "") -> Schema:
    """Return an object of an answer: it has all of the fields and no others."""
    return closed(properties, list(properties), description)


def nullable(schema: Schema) -> Schema:
    """Return a schema that null fits as well."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def text(most: int, description: str = "", pattern: str = "") -> Schema:
    """Return a text of at most so many characters."""
    return {
        "type": "string",
        "maxLength": most,
        **({"pattern": pattern} if pattern else {}),
        **({"description": description} if description else {}),
    }


def listed(items: Schema, description: str = "", least: int = 0) -> Schema:
    """Return a list."""
    return {
        "type": "array",
        "items": items,
        **({"minItems": least} if least else {}),
        **({"description": description} if description else {}),
    }


def one_of(values: Sequence[str], description: str = "") -> Schema:
    """Return one of a few words."""
    return {
        "type": "string",
        "enum": list(values),
        **({"description": description} if description else {}),
    }


def whole(most: int, least: int = 0, description: str = "") -> Schema:
    """Return a whole number."""
    return {
        "type": "integer",
        "minimum": least,
        "maximum": most,
        **({"description": description} if description else {}),
    }


def instant(description: str = "") -> Schema:
    """Return a time."""
    return {
        "type": "string",
        "format": "date-time",
        **({"description": description} if description else {}),
    }


FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
