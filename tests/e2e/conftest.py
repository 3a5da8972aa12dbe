"""Whole processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is initialized but not started; stopped at the end whatever happens."""
    made = Stack(tmp_path)
    made.init()
    yield made
    made.stop()
