"""The OpenAPI document says what is true of the table of operations."""

import json
from typing import Any

import jsonschema_rs
import pytest

from pdp.rest.faults import CODES
from pdp.rest.openapi.document import openapi
from pdp.rest.routes import OPERATIONS

DOCUMENT = openapi(OPERATIONS)


def validator(schema: dict[str, Any]) -> Any:
    return jsonschema_rs.validator_for({**schema, "components": DOCUMENT["components"]})


def described() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    ]


NAMED = described()
EACH = pytest.mark.parametrize("operation", [o for _, o in NAMED], ids=[n for n, _ in NAMED])


def test_it_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_operation_is_there_once() -> None:
    names = [operation["operationId"] for _, operation in described()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


@pytest.mark.parametrize(
    "operation", [each for _, each in described()], ids=[n for n, _ in described()]
)
def test_every_example_fits_its_schema(operation: dict[str, Any]) -> None:
    bodies = list(operation.get("requestBody", {}).get("content", {}).values())
    for answer in operation["responses"].values():
        bodies += answer["content"].values()
    checked = 0
    for body in bodies:
        examples = [each["value"] for each in body.get("examples", {}).values()]
        examples += [body["example"]] if "example" in body else []
        for example in examples:
            validator(body["schema"]).validate(example)
            checked += 1
    assert checked > len(operation["responses"]) - 1


@pytest.mark.parametrize(
    "operation", [each for _, each in described()], ids=[n for n, _ in described()]
)
def test_every_operation_is_documented(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert {"400", "401", "403", "500", "503"} <= set(operation["responses"])
    for parameter in operation["parameters"]:
        assert parameter["description"]


def test_every_code_is_one_of_an_error() -> None:
    schema = DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]
    assert schema["code"]["enum"] == sorted(CODES)


@pytest.mark.parametrize("name", ["NewKey", "KeyPatch", "SimulateBody"])
def test_a_field_that_may_be_left_out_may_be_null(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    optional = set(schema["properties"]) - set(schema.get("required", ()))
    assert optional
    refused = [
        each for each in optional if not validator(schema["properties"][each]).is_valid(None)
    ]
    assert refused == []
