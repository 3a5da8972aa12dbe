"""Schemathesis finds nothing: what OpenAPI says of the API is true of a running server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.rest.explore import explore
from tests.stack import Stack


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own: a fuzzer may well revoke the key that it asks with."""
    stack = Stack(tmp_path)
    stack.init_by_copy()
    stack.start()
    yield stack
    stack.stop()


def test_schemathesis_finds_nothing(running: Stack) -> None:
    """A small run, always the same; `make explore` does a thorough one."""
    done = explore(running, "--phases", "examples,fuzzing", "--max-examples", "10", "--seed", "1")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert '"level": "error"' not in running.log()
