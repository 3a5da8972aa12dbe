"""The admin API behind the example Envoy: one base URL, and the addresses of clients."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.e2e.envoy.conftest import Gateway


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway as docs/envoy.md says, with the PDP's own admin API behind it."""
    folder = tmp_path_factory.mktemp("front")
    made = Gateway(folder, "auto", PDP_HTTP_TRUSTED_HOPS="1")
    made.stack.environment["PDP_HTTP_LISTEN"] = f"127.0.0.1:{made.envoy.ports.admin}"
    try:
        made.start()
        yield made
    finally:
        made.stop()


def ask(
    front: Gateway, api_key: str, method: str, path: str, forwarded: str = "", **options: Any
) -> requests.Response:
    """Ask through Envoy, maybe as if from elsewhere."""
    headers = {"authorization": f"Bearer {api_key}"}
    if forwarded:
        headers["x-forwarded-for"] = forwarded
    url = front.envoy.url + path
    return requests.request(method, url, headers=headers, timeout=20, **options)


@pytest.mark.parametrize("forwarded", ["", "203.0.113.9", "127.0.0.1, 203.0.113.9", "junk"])
@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("203.0.113.0/24", 403)])
def test_a_key_s_addresses_bind_it_behind_envoy_whatever_its_holder_claims(
    front: Gateway, network: str, status: int, forwarded: str
) -> None:
    key = front.stack.create_key(ip_allowlist={"enabled": True, "addresses": [network]})
    answer = ask(front, key["api_key"], "GET", f"/v1/api-keys/{key['id']}", forwarded)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["code"] == "ip_not_allowed"


def test_one_base_url_serves_the_admin_api_and_the_models(front: Gateway) -> None:
    root = front.stack.root["api_key"]
    body = {"name": "app", "permissions": {"models": ["gpt-4o"]}}
    key = ask(front, root, "POST", "/v1/api-keys", json=body).json()
    client = front.client(key["api_key"])
    client.chat.completions.create(
        model="gpt-4o", max_tokens=5, messages=[{"role": "user", "content": "hello"}]
    )
    assert "x-forwarded-for" not in front.provider.seen[-1][0]
    for path in ("/v1/audit-logs", "/v1/usage", "/v1/organization", "/v1/api-keys?limit=1"):
        assert ask(front, root, "GET", path).status_code == 200, path
    gone = ask(front, root, "DELETE", f"/v1/api-keys/{key['id']}").json()
    assert gone["status"] == "revoked"
