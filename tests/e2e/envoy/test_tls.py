"""A real Envoy that speaks TLS to the PDP and shows a certificate, as docs/envoy.md has it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.envoy.conftest import Gateway
from tests.envoy import Envoy
from tests.pki import Authority

PAGE = (Path(__file__).parents[3] / "docs" / "envoy.md").read_text("utf-8")
ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


class Papers:
    """The lines of the page, with the files of a test in them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.pdp = self.authority.issue("pdp", "pdp.example")
        self.envoy = self.authority.issue("envoy")
        (self._lines,) = re.findall(r"^```yaml\n(    transport_socket:.*?)^```$", PAGE, re.M | re.S)

    def edit(self, text: str, sni: str = "pdp.example") -> str:
        lines = self._lines.replace("pdp.example", sni)
        for there, here in (
            ("/etc/envoy/pdp/tls.crt", self.envoy.cert),
            ("/etc/envoy/pdp/tls.key", self.envoy.key),
            ("/etc/envoy/pdp/ca.crt", self.authority.ca),
        ):
            assert there in lines
            lines = lines.replace(there, str(here))
        edited, found = re.subn(r"(?m)^  - name: pdp  .*\n", lambda m: m[0] + lines, text)
        assert found == 1
        return edited

    def edit_for_another(self, text: str) -> str:
        return self.edit(text, "another.example")


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


@pytest.fixture
def secured(tmp_path: Path, papers: Papers) -> Iterator[Gateway]:
    made = Gateway(tmp_path, "auto", papers.edit)
    made.stack.environment |= {
        "PDP_GRPC_LISTEN": f"0.0.0.0:{made.stack.grpc_port}",
        "PDP_TLS_CERT": str(papers.pdp.cert),
        "PDP_TLS_KEY": str(papers.pdp.key),
        "PDP_TLS_CLIENT_CA": str(papers.authority.ca),
    }
    made.start()
    yield made
    made.stop()


def test_envoy_is_known_by_its_certificate_and_knows_the_pdp(
    secured: Gateway, papers: Papers, tmp_path: Path
) -> None:
    key = secured.stack.create_key()
    answer = secured.client(key["api_key"]).chat.completions.with_raw_response.create(**ASK)
    assert answer.parse().choices[0].message.content == "hi"
    entry = secured.settled(answer.headers["x-request-id"])
    assert (entry["status"], entry["usage_source"]) == ("success", "provider")
    secured.envoy.stop()
    secured.envoy = Envoy(
        tmp_path, secured.stack.grpc_port, secured.provider.port, papers.edit_for_another
    )
    secured.envoy.start()
    with pytest.raises(openai.InternalServerError) as refused:
        secured.client(key["api_key"]).chat.completions.create(**ASK)
    assert refused.value.code == "unavailable"
    assert "Traceback" not in secured.stack.log()
