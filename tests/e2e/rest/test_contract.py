"""The names and shapes that others rely on: they are written out here, and change for nobody."""

import csv
import io
import json
from typing import Any

import pytest
import requests

from tests.e2e.rest.admin import Admin

FIELDS = [
    "id",
    "name",
    "description",
    "status",
    "key_type",
    "organization_id",
    "team_id",
    "user_id",
    "parent_key_id",
    "granted_by",
    "permissions_apply_to",
    "environment",
    "access",
    "permissions",
    "policy",
    "rate_limits",
    "budget_limits",
    "token_limits",
    "effective_limits",
    "budget_alerts",
    "alerts",
    "ip_allowlist",
    "webhooks",
    "metadata",
    "prefix",
    "last_four",
    "created_at",
    "expires_at",
    "last_used_at",
    "rotated_at",
]
GROUPS = ("day", "model", "provider", "key", "team", "user")


@pytest.fixture(scope="module")
def key(admin: Admin) -> dict[str, Any]:
    return admin.make(name="contract")


def test_a_key_has_the_fields_of_the_contract_wherever_it_is_shown(
    admin: Admin, key: dict[str, Any]
) -> None:
    path = f"/v1/api-keys/{key['id']}"
    temporary = admin.ask("POST", "/v1/api-keys/temporary", json={"expires_in": 3600}).json()
    rotated = admin.ask("POST", f"{path}/rotate", json={"grace_period": 60}).json()
    listed = admin.ask("GET", "/v1/api-keys").json()
    shown = [
        admin.ask("GET", path).json(),
        admin.ask("PATCH", path, json={"description": "d"}).json(),
        admin.ask("POST", f"{path}/suspend").json(),
        admin.ask("POST", f"{path}/resume").json(),
        *listed["keys"],
    ]
    for each in (key, temporary, rotated, *shown):
        assert set(FIELDS) <= set(each)
    for each in (key, temporary, rotated):
        assert each["api_key"].startswith(each["prefix"])
        assert each["api_key"].endswith(each["last_four"])
    assert not [each for each in shown if "api_key" in each]
    assert temporary["expires_in"] == 3600
    assert set(listed) == {"keys", "next_cursor"}
    # What was shown may come back as it is, in a patch.
    assert admin.ask("PATCH", path, json=admin.ask("GET", path).json()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/v1/api-keys", {"authorization": ""}, 401, "missing_key"),
        ("GET", "/v1/api-keys", {"authorization": "Bearer x"}, 401, "invalid_api_key"),
        ("GET", "/v1/api-keys/key_none", {}, 404, "not_found"),
        ("GET", "/v1/nothing", {}, 404, "not_found"),
        ("PUT", "/v1/api-keys", {}, 405, "method_not_allowed"),
        ("GET", "/v1/api-keys?limit=x", {}, 400, "invalid_request"),
        ("GET", "/v1/api-keys?cursor=x", {}, 400, "invalid_request"),
        ("POST", "/v1/api-keys", {}, 415, "unsupported_media_type"),
    ],
)
def test_errors_have_one_shape(
    admin: Admin, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = admin.ask(method, path, headers={"x-request-id": "mine", **headers})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_is_presented_in_any_of_three_headers(admin: Admin, header: str) -> None:
    value = f"Bearer {admin.api_key}" if header == "authorization" else admin.api_key
    url = f"{admin.base}/v1/api-keys?status=active&older_than=90d"
    assert requests.get(url, headers={header: value}, timeout=20).status_code == 200


def test_the_log_and_usage_take_the_parameters_of_the_contract(
    admin: Admin, key: dict[str, Any]
) -> None:
    every = "model=m&provider=p&status=denied&action=chat:stream&request_id=r"
    span = "start=2026-01-01T00:00:00Z&end=2030-01-01T00:00:00Z&limit=5"
    one = {"x-api-key-id": key["id"]}
    for query, headers in ((f"{every}&{span}", {}), (f"api_key_id={key['id']}", {}), ("", one)):
        page = admin.ask("GET", f"/v1/audit-logs?{query}", headers=headers)
        assert page.status_code == 200, page.text
        assert set(page.json()) == {"logs", "next_cursor"}
    lines = admin.ask("GET", "/v1/audit-logs?format=ndjson").text.splitlines()
    entries = [json.loads(line) for line in lines]
    table = list(csv.DictReader(io.StringIO(admin.ask("GET", "/v1/audit-logs?format=csv").text)))
    assert [each["decision_id"] for each in entries] == [row["decision_id"] for row in table]
    for group in GROUPS:
        assert admin.ask("GET", f"/v1/usage?group_by={group}").status_code == 200
    assert admin.ask("GET", "/v1/usage", headers=one).status_code == 200
