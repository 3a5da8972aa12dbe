"""What a data plane knows of its holds and of who relies on them."""

from typing import Any

import pytest

from pdp.counters.memory import MemoryCounters
from pdp.counters.redis.own import OwnHolds
from pdp.ids import IdSource
from tests.contract.world import World


@pytest.mark.parametrize("retry_first", [False, True])
def test_of_two_callers_either_may_be_answered_first(retry_first: bool) -> None:
    hold, own = World(MemoryCounters(), IdSource("test")).hold(), OwnHolds()
    steps: list[Any] = [lambda: own.add(hold), lambda: own.give(hold, "retry")]
    for step in reversed(steps) if retry_first else steps:
        step()
    assert own.give_up(hold.reservation_id) is None, "the other one relies on it"
    assert own.give_up(hold.reservation_id) == ["retry"]
