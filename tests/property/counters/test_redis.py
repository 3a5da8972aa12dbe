"""Redis counters against the same model, and against what a spool brings back."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from pdp.counters.redis.counters import RedisCounters
from pdp.records import decode
from tests.counting import Plane
from tests.examples import tries
from tests.property.counters.machine import Machine, Who
from tests.redis import RedisServer


class RedisMachine(Machine):
    """Data planes take turns; Redis loses its data, and is filled from the spool."""

    suffix = ".root"
    claims = True
    server: RedisServer

    def make_counters(self) -> RedisCounters:
        self.server.flush()
        self.loop = asyncio.new_event_loop()
        self.guest = self._plane("guest")
        self.planes = [self._plane(), self.guest]
        return self.planes[0].counters

    def _plane(self, name: str = "host") -> Plane:
        held = [entry.hold for entry in self.entries if entry.state == "held"]
        holds = held if name == "host" else ()
        return Plane(self.server.local_url, name, now=lambda: self.now, holds=holds)

    def counters_of(self, who: Who) -> RedisCounters:
        return self.counters if who == "host" else self.guest.counters

    def wait(self, *found: Any) -> list[Any]:
        return self.loop.run_until_complete(_all(found))

    @rule()
    def another_data_plane_goes_on(self) -> None:
        plane = self._plane()
        # Everything is counted already: that it is spooled must not count it again.
        plane.spool += map(decode, self.records)
        before = self._seen_by(self.counters)
        assert self._seen_by(plane.counters) == before
        self.planes.append(plane)
        self.counters = plane.counters
        self.forget_who_relies()

    @rule()
    def redis_loses_everything(self) -> None:
        before = self._seen_by(self.counters)
        self.server.flush()
        plane = self._plane()
        plane.spool += map(decode, self.records)
        assert self._seen_by(plane.counters) == before
        self.planes.append(plane)
        self.counters = plane.counters
        self.forget_who_relies(host_has_all=True)
        for entry in self.entries:
            entry.is_claimed = False
        for _ in range(2):  # The first call shows that there is something to catch up with.
            self.do(self.guest.counters.recall("", "", self.scopes["leaf"], self.now))

    def teardown(self) -> None:
        for plane in self.planes:
            self.loop.run_until_complete(plane.close())
        self.loop.close()


async def _all(found: tuple[Any, ...]) -> list[Any]:
    async def one(each: Any) -> Any:
        return await each if isinstance(each, Awaitable) else each

    return list(await asyncio.gather(*map(one, found)))


def test_redis_counters(redis: RedisServer) -> None:
    RedisMachine.server = redis
    run_state_machine_as_test(
        RedisMachine,
        settings=settings(tries(12, 30), suppress_health_check=list(HealthCheck)),
    )
