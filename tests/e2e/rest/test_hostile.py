"""A tenant who tries everything gets clear errors, and leaves no trace in others' data."""

import contextlib
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pdp.serve.connections import MOST
from tests.e2e.rest.admin import Admin
from tests.stack import Stack

NOBODY = "key_" + "0" * 24
DEEP = 9_000


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Admin, Admin]]:
    """Two organizations: the first is hostile, the second has a key of each kind."""
    stack = Stack(tmp_path_factory.mktemp("hostile"))
    first = stack.json("init", "--organization-id", "org_hostile")
    second = stack.json("init", "--organization-id", "org_other")
    stack.start()
    other = Admin(stack, second["api_key"])
    other.make(name="other", key_type="team", team_id="t")
    other.make(name="other's", team_id="t", budget_limits={"daily": 1})
    try:
        yield Admin(stack, first["api_key"]), other
    finally:
        stack.stop()


@pytest.fixture
def hostile(tenants: tuple[Admin, Admin]) -> Iterator[Admin]:
    """The hostile one; the other's keys stay as they are, and the server alive."""
    attacker, other = tenants
    before = other.ask("GET", "/v1/api-keys").json()
    pid = attacker.stack.child_pid("control")
    yield attacker
    assert other.ask("GET", "/v1/api-keys").json() == before
    assert attacker.stack.child_pid("control") == pid


@pytest.fixture
def theirs(tenants: tuple[Admin, Admin]) -> str:
    """The id of a key of the other one."""
    key_id: str = tenants[1].ask("GET", "/v1/api-keys").json()["keys"][1]["id"]
    return key_id


def refused(answer: Any, *statuses: int) -> dict[str, Any]:
    """The answer is an error of the usual shape; return it."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(answer.content) < 65_536
    assert answer.headers["content-type"] == "application/json"
    return error


BODIES: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", "body"),
    "no JSON": (b"{", "body"),
    "a list": (b"[]", "body"),
    "a number": (b"1", "body"),
    "null": (b"null", "body"),
    "NaN": (b'{"max_requests": NaN}', "body"),
    "infinity": (b'{"budget_limits": {"daily": 1e999}}', "body"),
    "huge number": (b'{"max_requests": 1' + b"0" * 400 + b"}", "max_requests"),
    "thousands of digits": (b'{"max_requests": 1' + b"0" * 5000 + b"}", "body"),
    "negative": (b'{"max_requests": -1}', "max_requests"),
    "a boolean for a number": (b'{"max_requests": true}', "max_requests"),
    "a text for a number": (b'{"rate_limits": {"per_minute": "1"}}', "rate_limits.per_minute"),
    "an object for a text": (b'{"name": {"$ne": ""}}', "name"),
    "a list for an object": (b'{"policy": []}', "policy"),
    "twice": (b'{"name": "a", "name": "b"}', "name"),
    "unknown": (b'{"nmae": "a"}', "nmae"),
    "id given": (b'{"id": "key_1"}', "id"),
    "secret given": (b'{"api_key": "k"}', "api_key"),
    "status given": (b'{"status": "active"}', "status"),
    "prototype": (b'{"__proto__": {"manage_keys": true}}', "__proto__"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, "body"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "body"),
    "deep metadata": (b'{"metadata": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", "metadata.a"),
    "thousands of fields": (
        json.dumps({f"f{number}": 1 for number in range(5000)}).encode(),
        "f0",
    ),
    "not UTF-8": (b'{"name": "\xff"}', "body"),
    "UTF-16": ('{"name": "a"}'.encode("utf-16"), "body"),
    "byte order mark": (b'\xef\xbb\xbf{"name": "a"}', "body"),
    "half a surrogate": (b'{"name": "\\ud800"}', None),
    "NUL in a name": (b'{"name": "a\\u0000b"}', "name"),
    "line break in a name": (b'{"name": "a\\r\\nset-cookie: x=1"}', "name"),
    "line break in metadata": (b'{"metadata": {"a": "b\\r\\nx: y"}}', "metadata.a"),
    "line break in a metadata name": (b'{"metadata": {"a\\nb": "c"}}', "metadata.a?b"),
    "right to left": (b'{"name": "\\u202eevil"}', "name"),
    "zero width": (b'{"name": "ad\\u200bmin"}', "name"),
    "blank name": ('{"name": "\u3000"}'.encode(), "name"),
    "no timezone": (
        b'{"policy": {"version": "2024-01-01", "statements": [{"effect": "Allow", '
        b'"actions": ["*"], "resources": ["*"], "condition": {"time_between": {"start": "09:00", '
        b'"end": "10:00", "timezone": "../../etc/passwd"}}}]}}',
        "policy.statements[0].condition.time_between.timezone",
    ),
    "no network": (
        b'{"ip_allowlist": {"enabled": true, "addresses": ["0/0; DROP"]}}',
        "ip_allowlist.addresses[0]",
    ),
    "no time": (b'{"expires_at": "never"}', "expires_at"),
    "the end of time": (b'{"expires_at": "9999-12-31T23:59:59Z"}', "expires_at"),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(hostile: Admin, name: str) -> None:
    body, param = BODIES[name]
    answer = hostile.ask(
        "POST", "/v1/api-keys", data=body, headers={"content-type": "application/json"}
    )
    error = refused(answer, 400)
    if param is not None:
        assert error["param"] == param, error
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("size", [65_537, 1_000_000, 20_000_000])
def test_huge_bodies(hostile: Admin, size: int) -> None:
    body = b'{"name": "' + b"a" * size + b'"}'
    with contextlib.suppress(OSError):  # The server may hang up on who goes on for too long.
        answer = hostile.ask(
            "POST", "/v1/api-keys", data=body, headers={"content-type": "application/json"}
        )
        refused(answer, 413)
    assert hostile.ask("GET", "/v1/organization").status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
     "multipart/form-data",
     "application/json; charset=utf-16", "application/merge-patch+json"],
)  # fmt: skip
def test_other_content_types(hostile: Admin, header: str) -> None:
    answer = hostile.ask("POST", "/v1/api-keys", data=b"{}", headers={"content-type": header})
    refused(answer, 415)


def test_compressed_bodies(hostile: Admin) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(hostile.ask("POST", "/v1/api-keys", data=b"{}", headers=headers), 415)


IDS = (
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "key_1%00",
    "' OR 1=1 --",
    "key_1;DROP TABLE api_keys",
    "%",
    "_",
    "*",
    "\u202e",
    "%ff%fe",
    "a" * 10_000,
    "{id}",
    "${jndi:ldap://x}",
    "key_1\r\nx: y",
)


@pytest.mark.parametrize("key_id", IDS)
@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")]
)
def test_ids(hostile: Admin, method: str, rest: str, key_id: str) -> None:
    path = f"/v1/api-keys/{quote(key_id, safe='%')}{rest}"
    body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
    refused(hostile.ask(method, path, **body), 404, 405)


def test_an_id_that_is_a_key_is_not_repeated(hostile: Admin) -> None:
    answer = hostile.ask("GET", f"/v1/api-keys/{hostile.api_key}")
    assert hostile.api_key not in refused(answer, 404)["message"]


def test_what_others_have_is_not_there(hostile: Admin, theirs: str) -> None:
    path = f"/v1/api-keys/{theirs}"
    nowhere = path.replace(theirs, NOBODY)
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "", {}),
        ("PATCH", "", {"json": {"name": "mine"}}),
        ("DELETE", "?cascade=true", {}),
        ("POST", "/rotate", {}),
        ("POST", "/suspend", {}),
        ("POST", "/resume", {}),
        ("POST", "/report-compromised", {}),
    ]
    for method, rest, options in asked:
        there = refused(hostile.ask(method, path + rest, **options), 404)
        absent = refused(hostile.ask(method, nowhere + rest, **options), 404)
        # Nothing tells a key of others from none at all.
        assert there["message"].replace(theirs, "") == absent["message"].replace(
            "key_" + "0" * 24, ""
        )
    body = {"name": "child", "parent_key_id": theirs}
    assert refused(hostile.ask("POST", "/v1/api-keys", json=body), 400)["param"] == "parent_key_id"
    body = {"name": "elsewhere", "organization_id": "org_other"}
    assert (
        refused(hostile.ask("POST", "/v1/api-keys", json=body), 400)["param"] == "organization_id"
    )


FILTERS = (
    "status=active' OR '1'='1",
    "status[]=active",
    "status=active&status=revoked",
    "key_type=%00",
    "cursor=' OR 1=1",
    "cursor=WyJrZXlzIiwxNzk1NDkxMzEyNTUxMzkwMzUzLCJcdTAwMDAiXQ",
    "cursor=" + "A" * 5000,
    "limit=-1",
    "limit=1e3",
    "limit=99999999999999999999",
    "limit=1;DROP",
    "older_than=%F0%9F%92%A9",
    "team_id=\x00",
    "order_by=id",
    "fields=api_key",
    "include=secret",
)


READING = (
    "audit-logs?status=active",
    "audit-logs?action=' OR 1=1",
    "audit-logs?start=yesterday",
    "audit-logs?end=9999-12-31T23:59:59Z",
    "audit-logs?cursor=WyJhdWRpdCIsMTc5NTQ5MTMxMjU1MTM5MDM1MywiXHUwMDAwIl0",
    "audit-logs?cursor=x",
    "audit-logs?format=xlsx",
    "audit-logs?format=csv&limit=0",
    "audit-logs?api_key_id=%00",
    "audit-logs?api_key_id=../..",
    "audit-logs?model=a%0d%0ab",
    "audit-logs?organization_id=org_other",
    "usage?group_by=organization",
    "usage?group_by=day&start=2026-02-30",
    "usage?start=2026-01-01",
    "usage?group_by=day&cursor=WyJ1c2FnZSBieSBkYXkiLCJBIl0",
    "usage?cursor=WyJ1c2FnZSIsbnVsbF0",
    "usage?api_key_id=key'",
)


@pytest.mark.parametrize("path", READING)
def test_filters_of_logs_and_usage(hostile: Admin, path: str) -> None:
    refused(hostile.ask("GET", f"/v1/{quote(path, safe='?=&%/')}"), 400)


@pytest.mark.parametrize("form", ["", "&format=csv", "&format=ndjson"])
def test_logs_and_usage_of_others_are_not_there(hostile: Admin, theirs: str, form: str) -> None:
    refused(hostile.ask("GET", f"/v1/audit-logs?api_key_id={theirs}{form}"), 404)
    headers = {"x-api-key-id": theirs}
    refused(hostile.ask("GET", f"/v1/audit-logs?{form[1:]}", headers=headers), 404)
    refused(hostile.ask("GET", f"/v1/usage?api_key_id={theirs}"), 404)
    assert theirs not in hostile.ask("GET", f"/v1/audit-logs?{form[1:]}").text
    assert theirs not in hostile.ask("GET", "/v1/usage").text
    body = {"api_key_id": theirs, "request": {"model": "gpt-4o"}}
    refused(hostile.ask("POST", "/v1/policies/simulate", json=body), 404)


@pytest.mark.parametrize("path", ["/v1/policies/validate", "/v1/policies/simulate"])
@pytest.mark.parametrize("name", ["nothing", "a list", "twice", "deep objects", "not UTF-8"])
def test_bodies_of_policies(hostile: Admin, path: str, name: str) -> None:
    headers = {"content-type": "application/json"}
    refused(hostile.ask("POST", path, data=BODIES[name][0], headers=headers), 400)


@pytest.mark.parametrize("query", FILTERS)
def test_filters(hostile: Admin, query: str) -> None:
    refused(hostile.ask("GET", f"/v1/api-keys?{quote(query, safe='=&%')}"), 400, 401)


@pytest.mark.parametrize(
    "query", ["team_id=' OR '1'='1", "user_id=%25", "team_id=t", "team_id=org_other"]
)
def test_filters_find_nothing_of_others(hostile: Admin, query: str) -> None:
    found = hostile.ask("GET", f"/v1/api-keys?{quote(query, safe='=&%')}")
    assert found.json() == {"keys": [], "next_cursor": None}


@pytest.mark.parametrize(
    "method", ["PUT", "TRACE", "OPTIONS", "CONNECT", "FOO", "PROPFIND", "A" * 200]
)
def test_methods(hostile: Admin, method: str) -> None:
    answer = hostile.ask(method, "/v1/api-keys")
    refused(answer, 405)
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL"]
)
def test_no_header_changes_what_is_asked(hostile: Admin, header: str) -> None:
    before = hostile.ask("GET", "/v1/api-keys").json()
    assert hostile.ask("GET", "/v1/api-keys", headers={header: "POST"}).json() == before


def test_names_cannot_split_headers(hostile: Admin) -> None:
    answer = hostile.ask("GET", "/v1/organization", headers={"x-request-id": "é\x85 x"})
    assert answer.headers["x-request-id"].isascii()
    assert " " not in answer.headers["x-request-id"]
    answer = hostile.ask("GET", "/v1/organization", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    answer = hostile.ask("GET", "/v1/organization", headers={"x-request-id": hostile.api_key})
    assert hostile.api_key not in str(answer.headers)


def raw(hostile: Admin, data: bytes) -> bytes:
    """Send bytes; return all that comes back."""
    with socket.create_connection(("127.0.0.1", hostile.stack.http_port), timeout=20) as line:
        line.sendall(data)
        return b"".join(iter(lambda: line.recv(65_536), b""))


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /v1/api-keys HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 100_000,
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x\r\n\r\n",
    ],
)
def test_what_is_no_http(hostile: Admin, data: bytes) -> None:
    head, _, body = raw(hostile, data).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert hostile.api_key not in hostile.stack.log()


def test_a_request_behind_another_is_one_of_its_own(hostile: Admin) -> None:
    smuggled = b"GET /v1/organization HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    first = (
        f"POST /v1/api-keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {hostile.api_key}\r\n"
        f"content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"
    ).encode()
    answers = raw(hostile, first + smuggled)
    assert answers.count(b"HTTP/1.1 ") == 2
    # The second has no key: that of the first is not remembered.
    assert b"missing_key" in answers


def test_ten_thousand_connections_keep_nobody_out(hostile: Admin) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    pid = hostile.stack.child_pid("control")
    with contextlib.ExitStack() as lines:
        lines.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(10_000):
            line = lines.enter_context(socket.socket())
            line.connect(("127.0.0.1", hostile.stack.http_port))
            if number % 2:
                line.sendall(b"GET /v1/api-keys HTTP/1.1\r\nhost: x\r\n")
        assert hostile.ask("GET", "/v1/organization").status_code == 200
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < MOST + 100
    assert hostile.ask("GET", "/v1/organization").status_code == 200
