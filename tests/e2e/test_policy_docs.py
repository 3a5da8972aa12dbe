"""The commands of docs/policy-tests.md, run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

from tests.stack import running

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policy-tests.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    assert len(BLOCKS) == 4
    with running(tmp_path) as stack:
        stack.environment["PATH"] = f"{Path(sys.executable).parent}:{stack.environment['PATH']}"
        for block in BLOCKS:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=ROOT,
                env=stack.environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, block + done.stderr
            assert done.stdout
