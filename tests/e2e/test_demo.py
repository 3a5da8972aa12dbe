"""`pdp demo --once` shows every rule at work, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_plays_every_step_and_cleans_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pdp", "demo", "--once"],
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for reason in (
        "model_not_allowed",
        "rate_limit_exceeded",
        "budget_exceeded",
        "key_revoked",
    ):
        assert reason in done.stdout
    assert "NOT OK" not in done.stdout
    assert "vsk_" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
