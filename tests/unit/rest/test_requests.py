"""What is read from a request besides its query: key, address, preconditions, path."""

from typing import Any

import pytest
from starlette.requests import Request

from pdp.credentials import BadCredentials
from pdp.errors import InvalidDocument, PreconditionFailed
from pdp.rest.caller import origin_of, raw_key_of
from pdp.rest.faults import HttpFault
from pdp.rest.operation import Table
from pdp.rest.preconditions import if_match_of, once_of, versions_of
from pdp.rest.routes import OPERATIONS


def request(*headers: tuple[str, str], method: str = "POST", **scope: Any) -> Request:
    return Request(
        {
            "type": "http",
            "method": method,
            "path": "/v1/api-keys",
            "query_string": b"",
            "client": ("192.0.2.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            **scope,
        }
    )


@pytest.mark.parametrize(
    "header",
    [("authorization", "Bearer k"), ("authorization", "bearer  k"), ("x-api-key", "k"),
     ("api-key", " k ")],
)  # fmt: skip
def test_a_key_comes_in_three_headers(header: tuple[str, str]) -> None:
    assert raw_key_of(request(header)) == "k"


def test_two_equal_keys_are_one() -> None:
    assert raw_key_of(request(("authorization", "Bearer k"), ("api-key", "k"))) == "k"
    assert raw_key_of(request(("api-key", "k"), ("api-key", "k"))) == "k"


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer k"), ("x-api-key", "l")],
        [("authorization", "Bearer k"), ("authorization", "Bearer l")],
        [("x-api-key", "k"), ("x-api-key", "l")],
    ],
)
def test_two_different_keys_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(BadCredentials):
        raw_key_of(request(*headers))


@pytest.mark.parametrize("query", [b"api_key=k", b"x=vsk_prod_1", b"x=1;token=k"])
def test_a_key_in_the_url_is_refused(query: bytes) -> None:
    with pytest.raises(BadCredentials):
        raw_key_of(request(("authorization", "Bearer k"), query_string=query))


def test_the_address_is_the_peer_unless_proxies_are_trusted() -> None:
    forwarded = request(("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1"))
    found = [origin_of(forwarded, "", hops).client_ip for hops in range(4)]
    assert found == ["192.0.2.1", "198.51.100.1", "203.0.113.9", ""]
    assert origin_of(request(client=None), "", 0).client_ip == ""


def test_who_asks_is_told_without_a_key_by_mistake() -> None:
    told = origin_of(request(("user-agent", "curl/8.5")), "req_1", 0)
    assert (told.request_id, told.user_agent) == ("req_1", "curl/8.5")
    assert origin_of(request(("user-agent", "vsk_prod_x")), "", 0).user_agent == ""


def test_if_match() -> None:
    assert if_match_of(request()) is None
    assert if_match_of(request(("if-match", "*"))) is None
    assert if_match_of(request(("if-match", '"7"'))) == {"7"}
    assert if_match_of(request(("if-match", '"0f3a"'))) == {"0f3a"}
    assert if_match_of(request(("if-match", '"7", W/"8" ,"9,5"'))) == {"7", "9,5"}
    assert if_match_of(request(("if-match", '"7"'), ("if-match", '"8"'))) == {"7", "8"}
    for weak in ('W/"7"', 'W/"7", W/"8"'):
        with pytest.raises(PreconditionFailed):
            if_match_of(request(("if-match", weak)))
    for wrong in ("7", '"7", 8', "", '"7', '"7",', '*, "7"', '"7" "8"'):
        with pytest.raises(InvalidDocument):
            if_match_of(request(("if-match", wrong)))


def test_the_tag_of_a_key_is_its_version() -> None:
    assert versions_of(None) is None
    assert versions_of({"7"}) == {7}
    assert versions_of({"7", "x", "8"}) == {7, 8}
    for foreign in ("x", "", "9999999999999999999", "-7", "0f3a"):
        with pytest.raises(PreconditionFailed):
            versions_of({foreign})


def test_an_idempotency_key_names_method_path_and_body() -> None:
    def once(body: bytes, **scope: Any) -> bytes:
        found = once_of(request(("idempotency-key", "a"), **scope), body)
        assert found is not None
        assert found.key == "a"
        return found.fingerprint

    assert once_of(request(), b"") is None
    assert once(b"{}") == once(b"{}")
    assert len({once(b"{}"), once(b"{ }"), once(b"{}", path="/v1/api-keys/temporary")}) == 3
    # What stands where is no matter of taste.
    assert once(b"x", path="/v1") != once(b"", path="/v1x")


@pytest.mark.parametrize("value", ["", "a b", "x" * 256, "ä"])
def test_an_idempotency_key_is_printable(value: str) -> None:
    with pytest.raises(InvalidDocument):
        once_of(request(("idempotency-key", value)), b"")


def test_every_path_finds_its_operation() -> None:
    table = Table(OPERATIONS)
    for operation in OPERATIONS:
        path = operation.path.replace("{id}", "key_1")
        found, key_id = table.find(operation.method, path)
        assert found is operation
        assert key_id == ("key_1" if "{id}" in operation.path else "")


def test_get_is_head_too() -> None:
    assert Table(OPERATIONS).find("HEAD", "/v1/api-keys")[0].name == "listKeys"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/v1/api-keys/",
        "/v1//api-keys",
        "/v1/api-keys/a/b",
        "/v1/api-keys/a/rotate/",
        "/v1/api-keys/{id}",
        "/V1/api-keys",
        "/v1/api-keys/../organization",
    ],
)
def test_no_other_path_is_one(path: str) -> None:
    with pytest.raises(HttpFault) as caught:
        Table(OPERATIONS).find("GET", path)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/api-keys", "GET, POST"),
        ("get", "/v1/api-keys", "GET, POST"),
        ("GET", "/v1/api-keys/temporary", "POST"),
        ("POST", "/v1/api-keys/key_1", "DELETE, GET, PATCH"),
        ("OPTIONS", "/v1/organization", "GET, PATCH"),
    ],
)
def test_other_methods_are_told_which_there_are(method: str, path: str, allowed: str) -> None:
    with pytest.raises(HttpFault) as caught:
        Table(OPERATIONS).find(method, path)
    assert caught.value.code == "method_not_allowed"
    assert caught.value.headers == {"allow": allowed}
