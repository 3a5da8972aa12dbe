"""Memory counters against the model, against their replay and from a checkpoint."""

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis.stateful import invariant, rule

from pdp.counters.memory import MemoryCounters
from pdp.records import decode
from tests.property.counters.machine import Machine


class MemoryMachine(Machine):
    """What memory promises beyond the port."""

    def make_counters(self) -> MemoryCounters:
        return MemoryCounters()

    def wait(self, *found: Any) -> list[Any]:
        return list(found)

    @rule()
    def restart_from_a_checkpoint(self) -> None:
        restored = MemoryCounters(self.counters.seen)
        restored.restore(self.counters.snapshot())
        assert self._seen_by(restored) == self._seen_by(self.counters)
        self.counters = restored
        for entry in self.entries:
            entry.relying = Counter(host=1)

    @invariant()
    def a_replay_is_no_different(self) -> None:
        replayed = MemoryCounters()
        for record in self.records:
            replayed.apply(decode(record))
        assert self._seen_by(replayed) == self._seen_by(self.counters)


TestMemoryCounters = MemoryMachine.TestCase
TestMemoryCounters.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
