"""Whole processes."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is initialized but not started; stopped at the end whatever happens."""
    made = Stack(tmp_path)
    made.init_by_copy()
    yield made
    made.stop()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A folder to mount on, unmounted at the end."""
    if os.geteuid() != 0:
        pytest.fail("needs root to mount: run the tests as root, or in a container")
    folder = tmp_path / "mounted"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(mounted: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def fill(path: Path) -> None:
    """Write to a file until its disk has no room."""
    with path.open("wb", buffering=0) as ballast:
        try:
            while ballast.write(b"\0" * 4096) == 4096:
                pass
        except OSError:
            pass
