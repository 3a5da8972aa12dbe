"""The commands of the README and of some pages of docs/, run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pdp.demo.envoy import configure, example_config
from pdp.demo.ports import Ports
from tests.nginx import find_nginx
from tests.ports import free_port
from tests.redis import RedisServer
from tests.stack import Stack

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.timeout(300)
"""Each command starts an interpreter, and on a busy machine that takes seconds."""
_SET_UP = re.compile(r"^(make |export PATH=).*\n", re.MULTILINE)


def blocks(page: str, start: str = "", end: str = "") -> str:
    """Return the shell blocks of a page, between two headings if they are given."""
    text = (ROOT / page).read_text("utf-8")
    text = text[text.index(start) : text.index(end) if end else None]
    return "\n".join(_BLOCK.findall(text))


def run(stack: Stack, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, with `pdp` in the PATH; what it starts ends with it."""
    programs = Path(sys.executable).parent
    ending = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", ending + script],
        cwd=folder,
        env={**stack.environment, "PATH": f"{programs}:{stack.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_the_readme_s_way_from_nothing_to_a_revoked_key(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    ports = Ports(free_port(), free_port(), stack.grpc_port, stack.ops_port, stack.http_port)
    config = tmp_path / "envoy.yaml"
    config.write_text(configure(example_config(), ports))
    script = blocks("README.md", "## Put it beside your Envoy", "## Run it")
    script = _SET_UP.sub("", script)
    for usual, here in (
        ("examples/envoy/envoy.yaml", str(config)),
        ("localhost:10000", f"localhost:{ports.envoy}"),
        ("upstream 11000", f"upstream {ports.upstream}"),
        ("localhost:9464", f"localhost:{ports.ops}"),
    ):
        assert usual in script
        script = script.replace(usual, here)
    done = run(stack, script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"HTTP/1.1 (\d+)", done.stdout) == ["200", "403"]
    assert "model_not_allowed" in done.stdout
    assert re.search(r"^key_\w+ is revoked$", done.stdout, re.MULTILINE)
    assert re.search(r"^key +key_\w+  marketing$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "start", "words"),
    [
        ("prices.md", "", "costs"),
        ("keys.md", "", "is revoked"),
        ("audit.md", "", "Usage"),
        ("database.md", "## Migrations", "to 0001"),
    ],
)
def test_the_commands_of_a_page(
    stack: Stack, tmp_path: Path, page: str, start: str, words: str
) -> None:
    stack.environment["ID"] = stack.root["key_id"]
    done = run(stack, blocks(f"docs/{page}", start), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert words in done.stdout
    assert done.stderr.strip().replace("keep the secret: it is not shown again", "").strip() == ""


def test_the_commands_of_the_page_on_redis(
    stack: Stack, redis: RedisServer, tmp_path: Path
) -> None:
    redis.flush()
    stack.environment["VISCA_API_KEY"] = stack.create_key()["api_key"]
    script = blocks("docs/redis.md")
    for usual, here in (
        ("redis://127.0.0.1:6379", redis.url),
        ("localhost:9464", f"127.0.0.1:{stack.ops_port}"),
    ):
        assert usual in script
        script = script.replace(usual, here)
    done = run(stack, script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decision   allow" in done.stdout
    assert "pdp_datastore_partitioned 0.0" in done.stdout


def test_nginx_is_tried_as_its_page_says(stack: Stack, tmp_path: Path) -> None:
    find_nginx()
    upstream, listener, key = free_port(), free_port(), stack.create_key()
    stack.start()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    ports = [(11000, upstream), (10080, listener), (9292, stack.nginx_port), (8080, free_port())]
    edits = "".join(f" -e 's/127.0.0.1:{usual}/127.0.0.1:{here}/'" for usual, here in ports)
    usual_udp = f"server=127.0.0.1:{stack.nginx_port}"
    edits += f" -e 's/{usual_udp}/server=127.0.0.1:{stack.usage_port}/'"
    script = blocks("docs/nginx.md", "## Try it", "## What decides")
    start = "export PROVIDER_API_KEY"
    assert start in script
    script = script.replace(start, f"sed -i{edits} my-nginx/*.conf my-nginx/*.inc\n{start}")
    script = script.replace("localhost:10080", f"localhost:{listener}")
    provider = f"python -m pdp.demo.upstream {upstream} > /dev/null &\n"
    provider += f"until curl -s -o /dev/null localhost:{upstream}; do sleep 0.2; done\n"
    export = f"export KEY={key['api_key']}\n"
    done = run(stack, provider + export + script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HTTP/1.1 200" in done.stdout
    stack.settle()
    assert stack.audit(1)[0]["status"] in ("pending", "success")
