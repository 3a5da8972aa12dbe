"""A running `pdp serve` with its admin API; one for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.e2e.rest.admin import Admin
from tests.stack import Stack


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """The organization `org_abc123`, whose root key asks."""
    stack = Stack(tmp_path_factory.mktemp("rest"))
    stack.root = stack.json("init", "--organization-id", "org_abc123")
    stack.start()
    try:
        yield Admin(stack, stack.root["api_key"])
    finally:
        stack.stop()
