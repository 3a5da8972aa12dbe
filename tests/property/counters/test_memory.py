"""Memory counters against the model, against their replay and from a checkpoint."""

from collections import Counter
from typing import Any

from hypothesis.stateful import rule

from pdp.counters.memory import MemoryCounters
from pdp.records import decode
from tests.examples import tries
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

    @rule()
    def a_replay_is_no_different(self) -> None:
        replayed = MemoryCounters()
        for record in self.records:
            replayed.apply(decode(record))
        assert self._seen_by(replayed) == self._seen_by(self.counters)

    def teardown(self) -> None:
        self.a_replay_is_no_different()


TestMemoryCounters = MemoryMachine.TestCase
TestMemoryCounters.settings = tries(60, 40)
