"""A small run of what `make crash` does a hundred times."""

from pathlib import Path

import pytest

from tests.crash.run import crash
from tests.stack import Stack


@pytest.mark.parametrize("ttl", [None, "3"], ids=["held", "expiring"])
async def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, ttl: str | None) -> None:
    stack = Stack(tmp_path, **({"PDP_HOLD_TTL": ttl} if ttl else {}))
    stack.init_by_copy()
    try:
        done = await crash(stack, 4, 300, "suite", expire=ttl is not None)
    finally:
        stack.stop()
    assert done.reports >= 300
    assert done.kills.total() == 4
