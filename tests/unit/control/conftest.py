"""A desk for every test of the control plane."""

from collections.abc import AsyncIterator

import pytest

from tests.store import Store
from tests.unit.control.desk import Desk, opened_desk


@pytest.fixture
async def desk(store: Store) -> AsyncIterator[Desk]:
    """A migrated, initialized database of its own, of each kind."""
    async with store.initialized() as url, opened_desk(url) as made:
        yield made


@pytest.fixture
async def postgresql_desk(postgresql_store: Store) -> AsyncIterator[Desk]:
    """One on PostgreSQL alone."""
    async with postgresql_store.initialized() as url, opened_desk(url) as made:
        yield made
