"""A desk for every test of the control plane."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.control.desk import Desk, make_template, opened_desk


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, initialized database to copy."""
    return asyncio.run(make_template(tmp_path_factory.mktemp("template")))


@pytest.fixture
async def desk(template: Path, tmp_path: Path) -> AsyncIterator[Desk]:
    """A migrated, initialized database of its own."""
    shutil.copy(template, tmp_path)
    async with opened_desk(tmp_path) as made:
        yield made
