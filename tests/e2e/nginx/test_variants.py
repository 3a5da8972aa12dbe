"""What the example configuration shows in comments, switched on: TLS, and letting all pass."""

import http.client
import json
import re
import ssl
from collections.abc import Iterator

import pytest
from msgspec import Struct

from tests.e2e.nginx.conftest import NginxGateway
from tests.nginx import Nginx
from tests.pki import Authority
from tests.ports import free_port
from tests.stack import Stack

ASK = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
CLOSED = re.compile(r"^location @pdp_down \{.*?^\}\n", re.MULTILINE | re.DOTALL)
OPEN = re.compile(r"^# location @pdp_down \{.*?^# \}\n", re.MULTILINE | re.DOTALL)
LISTEN = re.compile(r"# listen 443 ssl http2;\n *# ssl_certificate .*\n")


class Variant(Struct):
    """An NGINX with TLS on `port`, and nobody where the PDP would be."""

    nginx: Nginx
    port: int
    trust: ssl.SSLContext


def uncommented(text: str) -> str:
    return re.sub(r"^ *# ?", "", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def variant(gateway: NginxGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Variant]:
    folder, port = tmp_path_factory.mktemp("variant"), free_port()
    authority = Authority(folder)
    shown = authority.issue("llm", "127.0.0.1", "localhost")
    edited: list[str] = []

    def edit(text: str) -> str:
        text, closed = CLOSED.subn("", text)
        if closed:
            text, opened = OPEN.subn(lambda found: uncommented(found[0]), text)
            assert opened == 1
            edited.append("open")
        text, listens = LISTEN.subn(lambda found: uncommented(found[0]), text)
        if listens:
            edited.append("ssl")
            text = text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;")
            text = text.replace("/etc/nginx/llm.pem", str(shown.cert))
            text = text.replace("/etc/nginx/llm.key", str(shown.key))
        return text

    nginx = Nginx(folder, Stack(folder), gateway.provider.port, edit)
    assert sorted(edited) == ["open", "ssl"]
    trust = ssl.create_default_context(cafile=str(authority.ca))
    nginx.start()
    yield Variant(nginx, port, trust)
    nginx.stop()


def test_everything_passes_undecided_while_the_pdp_is_away_if_so_chosen(
    gateway: NginxGateway, variant: Variant
) -> None:
    line = http.client.HTTPSConnection("localhost", variant.port, timeout=30, context=variant.trust)
    headers = {"authorization": "Bearer vsk_prod_any", "content-type": "application/json"}
    line.request("POST", "/v1/chat/completions?a=b", ASK, headers)
    answer = line.getresponse()
    assert answer.status == 200
    assert json.loads(answer.read())["object"] == "chat.completion"
    line.close()
    arrival = gateway.provider.arrivals[-1]
    assert (arrival.method, arrival.target) == ("POST", "/v1/chat/completions?a=b")
    assert arrival.header("authorization") == "Bearer sk-provider"
    assert arrival.body == ASK.encode()
    assert "vsk_prod_any" not in json.dumps(arrival.headers)
    assert not variant.nginx.usage_log.read_text(), "nobody has decided, nobody is charged"


def test_clients_may_speak_http2_over_tls(variant: Variant) -> None:
    variant.trust.set_alpn_protocols(["h2", "http/1.1"])
    line = http.client.HTTPSConnection("localhost", variant.port, timeout=30, context=variant.trust)
    line.connect()
    assert isinstance(line.sock, ssl.SSLSocket)
    assert line.sock.selected_alpn_protocol() == "h2"
    line.close()
