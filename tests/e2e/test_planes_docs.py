"""The commands of docs/planes.md, run as they stand there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port

PAGE = (Path(__file__).parents[2] / "docs" / "planes.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    assert len(BLOCKS) == 3
    control, ops = free_port(), free_port()
    script = "trap 'kill $(jobs -p); wait' EXIT\n" + "\n".join(BLOCKS)
    for there, here in (
        ("control.example:9300", f"127.0.0.1:{control}"),
        ("0.0.0.0:9300", f"0.0.0.0:{control}"),
        ("localhost:9464", f"127.0.0.1:{ops}"),
    ):
        assert there in script
        script = script.replace(there, here)
    running = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PDP_CONTROL_TLS_NAME": "control.example",
            "PDP_GRPC_LISTEN": f"127.0.0.1:{free_port()}",
            "PDP_OPS_LISTEN": f"127.0.0.1:{ops}",
            "PDP_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "PDP_NGINX_LISTEN": f"127.0.0.1:{free_port()}",
            "PDP_NGINX_USAGE_LISTEN": "off",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = running.communicate(timeout=100)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait(20)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert running.returncode == 0, told + logs
    assert "decision   allow" in told
    assert "Traceback" not in logs
