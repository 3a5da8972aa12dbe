"""`pdp demo --once` shows every rule at work, and leaves nothing behind."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdp.demo.stage import Stage
from pdp.temporary import short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder with a short name: a unix socket's path has 107 characters."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_it_takes_a_short_folder_where_the_usual_one_is_too_long_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert short_folder() == tempfile.gettempdir()
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with socket.socket(socket.AF_UNIX) as probe:
        stage = Stage()
        try:
            stage.data_dir.mkdir()
            probe.bind(str(stage.data_dir / "control.sock"))
        finally:
            stage.__exit__()
    assert not stage.folder.exists()


def test_the_demo_plays_every_step_and_cleans_up(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pdp", "demo", "--once"],
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=250,
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
    assert list(folder.iterdir()) == []
