"""The commands of docs/rest.md work, one after the other, as they stand there."""

import re
import subprocess
from pathlib import Path

from pdp.rest.faults import CODES
from tests.e2e.rest.admin import Admin

DOCS = Path(__file__).parents[3] / "docs"


def test_the_commands_of_the_quick_start(admin: Admin, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", (DOCS / "rest.md").read_text(), re.M | re.S)
    assert len(blocks) > 5
    script = "\n".join(blocks)
    assert script.count("http://127.0.0.1:8080") == 1
    done = subprocess.run(
        ["sh", "-eux", "-c", script.replace("http://127.0.0.1:8080", admin.base)],
        env={"KEY": admin.api_key, "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"status":"revoked"' in done.stdout


def test_every_code_is_explained() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", (DOCS / "errors.md").read_text(), re.M)
    explained = {(code, int(status)) for code, status in rows}
    assert {(code.name, code.status) for code in CODES.values()} <= explained
