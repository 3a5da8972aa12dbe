"""The server under the admin API: its sockets, its log, its end, and a database that is busy."""

import contextlib
import http.client
import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.rest.admin import Admin
from tests.stack import Stack, eventually


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A server behind one proxy."""
    stack = Stack(tmp_path_factory.mktemp("proxied"), PDP_HTTP_TRUSTED_HOPS="1")
    stack.init_by_copy()
    stack.start()
    try:
        yield Admin(stack, stack.root["api_key"])
    finally:
        stack.stop()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def test_a_unix_socket_is_for_its_group(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    stack.environment["PDP_HTTP_LISTEN"] = f"unix:{path}"
    stack.start()
    assert path.stat().st_mode & 0o777 == 0o660
    with contextlib.closing(_UnixConnection(path)) as line:
        line.request("GET", "/v1/organization", headers={"x-api-key": stack.root["api_key"]})
        answer = line.getresponse()
        assert (answer.status, json.load(answer)["id"]) == (200, stack.root["organization_id"])


def test_the_end_does_not_wait_for_who_sends_slowly(stack: Stack) -> None:
    stack.start()
    with socket.create_connection(("127.0.0.1", stack.http_port)) as line:
        head = f"POST /v1/api-keys HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.root['api_key']}\r\n"
        line.sendall(f"{head}content-type: application/json\r\ncontent-length: 9\r\n\r\n".encode())
        assert stack.stop() == 0
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = line.recv(65536)
    assert b"did not come" not in answer, "it was not waited for"
    assert "killing" not in stack.log()


def test_an_address_list_binds_the_admin_api_as_well(proxied: Admin) -> None:
    key = proxied.make(ip_allowlist={"enabled": True, "addresses": ["203.0.113.0/24"]})
    client = proxied.as_key(key["api_key"])
    path = f"/v1/api-keys/{key['id']}"
    for forwarded, status in (
        ("203.0.113.42", 200),
        ("198.51.100.1, 203.0.113.42", 200),
        ("203.0.113.42, 198.51.100.1", 403),
        ("", 403),
    ):
        answer = client.ask("GET", path, headers={"x-forwarded-for": forwarded})
        assert answer.status_code == status, forwarded
    assert answer.json()["error"]["code"] == "ip_not_allowed"


def test_a_busy_database_is_told_and_heals(proxied: Admin) -> None:
    line = sqlite3.connect(proxied.stack.data_dir / "pdp.db", isolation_level=None)
    with contextlib.closing(line):
        line.execute("BEGIN IMMEDIATE")
        answer = proxied.ask("POST", "/v1/api-keys", json={"name": "late"})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "unavailable"
        assert int(answer.headers["retry-after"]) >= 1
        # Reading goes on.
        assert proxied.ask("GET", "/v1/api-keys").status_code == 200
        line.execute("ROLLBACK")
    proxied.make(name="late")


def test_it_comes_back_after_a_kill(proxied: Admin) -> None:
    proxied.stack.kill("control")

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return proxied.ask("GET", "/v1/organization").status_code == 200
        return False

    eventually(answers, "the admin API answers again")


def test_the_log_has_a_line_of_each_request_without_its_query(proxied: Admin) -> None:
    key = proxied.make(name="logged")
    proxied.ask("GET", f"/v1/api-keys/{key['id']}?private=1", headers={"x-request-id": "find-me"})

    def line() -> dict[str, Any]:
        lines = [json.loads(each) for each in proxied.stack.log().splitlines()]
        return next((each for each in lines if each.get("request_id") == "find-me"), {})

    found = eventually(line, "the request is logged")
    told = {name: found[name] for name in ("event", "method", "route", "status", "target")}
    assert told == {
        "event": "request",
        "method": "GET",
        "route": "/v1/api-keys/{id}",
        "status": 400,
        "target": key["id"],
    }
    assert found["key_id"] == proxied.stack.root["key_id"]
    assert "private" not in proxied.stack.log()


def test_a_change_is_in_the_log_with_where_it_was_asked_for(proxied: Admin) -> None:
    call = {
        "x-request-id": "change-1",
        "x-forwarded-for": "203.0.113.42",
        "user-agent": "curl/8.5.0",
    }
    proxied.ask("POST", "/v1/api-keys", json={"name": "asked"}, headers=call)
    (entry,) = proxied.ask("GET", "/v1/audit-logs?request_id=change-1").json()["logs"]
    assert (entry["action"], entry["ip_address"]) == ("keys.create", "203.0.113.42")
    assert entry["user_agent"] == "curl/8.5.0"


def test_two_editors_do_not_overwrite_each_other(proxied: Admin) -> None:
    key = proxied.make(name="edited")
    path = f"/v1/api-keys/{key['id']}"
    seen = proxied.ask("GET", path).headers["etag"]
    first = proxied.ask("PATCH", path, json={"name": "a"}, headers={"if-match": seen})
    assert first.status_code == 200
    assert first.headers["etag"] != seen
    for method, rest, options in (
        ("PATCH", "", {"json": {"name": "b"}}),
        ("DELETE", "", {}),
        *(("POST", f"/{what}", {}) for what in ("rotate", "suspend", "resume")),
        ("POST", "/report-compromised", {}),
    ):
        late = proxied.ask(method, path + rest, headers={"if-match": seen}, **options)
        assert late.status_code == 412, rest
        assert late.json()["error"]["code"] == "precondition_failed"
    assert proxied.ask("GET", path).json()["name"] == "a"
    twice = {"if-match": first.headers["etag"], "idempotency-key": "rotate-1"}
    for replayed in (None, True):
        again = proxied.ask("POST", f"{path}/rotate", headers=twice)
        assert (again.status_code, again.json().get("idempotent_replayed")) == (200, replayed)
    last = proxied.ask("DELETE", path, headers={"if-match": again.headers["etag"]})
    assert last.json()["status"] == "revoked"


def test_two_editors_of_the_organization_do_not_overwrite_each_other(proxied: Admin) -> None:
    path = "/v1/organization"
    seen = proxied.ask("GET", path).headers["etag"]
    first = proxied.ask("PATCH", path, json={"name": "A"}, headers={"if-match": seen})
    assert (first.status_code, first.json()["name"]) == (200, "A")
    late = proxied.ask("PATCH", path, json={"name": "B"}, headers={"if-match": seen})
    assert (late.status_code, late.json()["error"]["code"]) == (412, "precondition_failed")
    assert proxied.ask("GET", path).headers["etag"] == first.headers["etag"] != seen


def test_a_request_sent_again_makes_one_key(proxied: Admin) -> None:
    headers = {"idempotency-key": "once"}
    first = proxied.ask("POST", "/v1/api-keys", json={"name": "one"}, headers=headers)
    again = proxied.ask("POST", "/v1/api-keys", json={"name": "one"}, headers=headers)
    other = proxied.ask("POST", "/v1/api-keys", json={"name": "two"}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert first.headers["location"] == f"/v1/api-keys/{first.json()['id']}"
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["idempotent_replayed"] is True
    assert "api_key" not in again.json()


def test_pages_are_stable_while_keys_are_made(proxied: Admin) -> None:
    made = [proxied.make(name=f"p{number}", team_id="paged")["id"] for number in range(5)]
    found: list[str] = []
    query = "?team_id=paged&limit=2"
    while True:
        page = proxied.ask("GET", f"/v1/api-keys{query}").json()
        found += [key["id"] for key in page["keys"]]
        if page["next_cursor"] is None:
            break
        if len(made) < 7:
            made.append(proxied.make(name="between", team_id="paged")["id"])
        query = f"?team_id=paged&limit=2&cursor={page['next_cursor']}"
    assert found == made


def test_the_log_as_a_stream(proxied: Admin) -> None:
    for number in range(6):
        proxied.make(name=f"listed-{number}")
    for form, media in (("ndjson", "application/x-ndjson"), ("csv", "text/csv; charset=utf-8")):
        answer = proxied.ask("GET", f"/v1/audit-logs?format={form}&action=keys.create")
        assert answer.headers["content-type"] == media
        assert answer.headers["transfer-encoding"] == "chunked"
        lines = answer.text.splitlines()
        assert len(lines) > 5
    bounded = proxied.ask("GET", "/v1/audit-logs?format=ndjson&limit=2").text.splitlines()
    assert [json.loads(line)["status"] for line in bounded] == ["success", "success"]
    both = {"x-api-key-id": "key_1"}
    differ = proxied.ask("GET", "/v1/audit-logs?api_key_id=key_2", headers=both)
    assert differ.json()["error"]["param"] == "api_key_id"
