"""House-keeping of the counters in Redis, beside the Check path. Times in ns, unless named."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from pdp.counters.redis import asks
from pdp.counters.redis.apart import Apart
from pdp.counters.redis.away import Away
from pdp.counters.redis.counters import RedisCounters
from pdp.counters.redis.lane import Lane
from pdp.counters.redis.roots import Roots
from pdp.counters.redis.skew import Skew
from pdp.errors import StartRefused
from pdp.ports import Clock
from pdp.reconcile.told import told_in

_log = structlog.get_logger(__name__)

_SECOND: Final = 1_000_000_000
_LOOK_FOR_ROOTS: Final = 10
_PLANE_PATIENCE: Final = 10
"""Seconds without a word after which a data plane counts as gone."""

_RETRY: Final = 0.1
"""Seconds."""

_MOST_CHECKED: Final = 500
"""Own holds that are looked at in one go: they should have ended long ago."""

_MOST_OWED: Final = 1_000
"""Holds that are taken back in one go."""

_OVERDUE: Final = 60 * _SECOND

_SAY_AGAIN: Final = 60 * _SECOND
"""Until trouble that lasts is logged again."""

_ALL: Final = ""
"""Stands for trouble that is not one root's."""


class Tender:
    """Probes a Redis that is away, joins roots, says how far the spool is counted.

    `reached` is told of how many data planes Redis hears, each time that this changes.
    """

    def __init__(
        self,
        counters: RedisCounters,
        roots: Roots,
        name: str,
        clock: Clock,
        monotonic: Clock,
        reached: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._counters = counters
        self._roots = roots
        self._name = name
        self._clock = clock
        self._monotonic = monotonic
        self._reached = reached
        self._skew = Skew()
        self._apart = Apart()
        self._told = 0
        self._seconds = 0
        self._next = 0
        self._unneeded = 0
        """What the ledger had when all roots were last looked at, and all was well with each.

        Who opens another one fills it with that, too.
        """
        self._is_whole = False
        self._said: dict[str, int] = {}
        """When trouble was last logged, by root."""
        self._in_trouble: set[str] = set()
        self._unfit = ""

    async def start(self, patience: float, planes: int) -> None:
        """See that Redis is there and can be counted on; raises `StartRefused`.

        Where so many data planes have counted in it before, the start goes on without it: an
        outage must not keep a data plane down, and rates are still shared. 0: nobody has.
        `patience` in seconds.
        """
        try:
            await self._check_within(patience)
        except Away as error:
            self._counters.planes = max(planes, 1)
            if not planes:
                raise StartRefused(f"PDP_REDIS_URL: {error}") from error
            self._roots.breaker.trip(self._monotonic())
            self._roots.away()

    async def _check_within(self, patience: float) -> None:
        end = self._monotonic() + int(patience * _SECOND)
        while True:
            try:
                await self._roots.line.check()
            except Away:
                if self._monotonic() >= end:
                    raise
                await asyncio.sleep(_RETRY)
            else:
                return

    def needed(self) -> int:
        """Return the first record of the spool that may have to be counted from there."""
        counted = (lane.counted for lane in self._roots.lanes)
        return min((self._unneeded, *counted))

    async def tend(self) -> None:
        """Do what is due; call it a few times a second."""
        now = self._monotonic()
        if self._roots.breaker.is_open:
            self._apart.lost()
            if self._roots.breaker.wants_probe(now):
                await self._probe(now)
            return
        if now < self._next and not self._roots.taken_back:
            return
        try:
            await self._take_back()
            if now >= self._next:
                self._next = now + _SECOND
                await self._each_second()
                self._is_well(_ALL)
        except Away as error:
            self._apart.lost()
            self._say(_ALL, error)

    def told_apart(self, is_apart: bool | None) -> None:
        """Hear whether the control plane's Redis hears of others, and not of this data plane.

        None: the control plane is away. Who counts here goes on, and who does not, does not.
        """
        self._apart.said = self._roots.is_apart if is_apart is None else is_apart

    async def _part(self) -> bool:
        """Count no longer in a Redis that is not the others'; tell whether this one is such.

        Where the address leads elsewhere by now, new connections are to the right one.
        """
        now = self._monotonic()
        self._apart.reached(now)
        self._roots.part(is_apart=self._apart.is_sure(now))
        if self._roots.is_apart:
            self._is_whole = False
            await self._roots.line.renew()
        return self._roots.is_apart

    async def _probe(self, now: int) -> None:
        try:
            await self._roots.line.ping()
            await self._roots.line.check()
        except Away:
            self._roots.breaker.failed(now)
            return
        except StartRefused as error:
            self._is_unfit(error)
            self._roots.breaker.failed(now)
            return
        self._unfit = ""
        self._roots.back()

    def _is_unfit(self, error: StartRefused) -> None:
        if self._unfit != str(error):
            self._unfit = str(error)
            _log.error("redis is there, and not used", reason=self._unfit)

    async def _check_again(self, now: int) -> None:
        """Leave a Redis that was set to forget, or a Cluster that was joined by such a node."""
        try:
            await self._roots.line.check()
        except StartRefused as error:
            self._is_unfit(error)
            self._roots.breaker.trip(now)
            self._roots.away()
            raise Away("it is not fit to count in") from error

    async def _take_back(self) -> None:
        """Cancel holds that nobody knows of, whether or not Redis ever made them."""
        owed = list(self._roots.taken_back.items())
        trouble: set[str] = set()
        for reservation_id, (root, cancel) in owed[:_MOST_OWED]:
            if root in trouble:
                continue
            try:
                await self._roots.ask(root, cancel)
            except Away as error:
                trouble.add(root)
                self._say_of(root, error)
            else:
                self._roots.taken_back.pop(reservation_id, None)

    async def _each_second(self) -> None:
        shipped = self._roots.history.shipped()
        self._is_whole = self._seconds % _LOOK_FOR_ROOTS == 0
        if self._is_whole:
            await self._check_again(self._monotonic())
            for root in await self._roots.line.roots() | self._roots.own.roots():
                self._roots.lane(root)
            self._roots.stats.drift = told_in(await self._roots.line.drift())
        self._seconds += 1
        second = self._clock() // _SECOND
        planes = await self._roots.line.count_planes(self._name, second, _PLANE_PATIENCE)
        if await self._part():
            return
        self._counters.planes = planes
        if planes != self._told:
            self._reached(planes)
            self._told = planes
        await self._roots.each(self._beat)
        self._compare_clocks()
        if self._is_whole:
            self._unneeded = shipped
        await self._forget_settled()

    def _compare_clocks(self) -> None:
        parted = self._skew.news()
        self._roots.stats.skew = abs(self._skew.ns)
        if parted is None:
            return
        ahead = round(self._skew.ns / _SECOND, 3)
        if parted:
            _log.error(
                "the clocks of redis and of this machine are apart: windows, rates and what "
                "ends by itself are wrong by that: set both by NTP, then look with "
                "`pdp reconcile --check`",
                redis_ahead_seconds=ahead,
            )
        else:
            _log.warning("the clocks of redis and of this machine agree again")

    async def _beat(self, lane: Lane) -> None:
        try:
            await self._say_counted(lane)
            self._is_well(lane.root)
        except Away as error:
            self._is_whole = False
            self._say_of(lane.root, error, behind=lane.behind)

    async def _say_counted(self, lane: Lane) -> None:
        """Say up to which record all is counted in a root."""
        if lane.epoch is None:
            await self._roots.join(lane)
        number = lane.mark(self._roots.history.end())
        counted = -1 if number is None else number
        began = self._clock()
        _, told = await self._roots.ask(lane.root, asks.beat(self._name, counted))
        self._skew.note(began, told, self._clock())
        lane.counted = max(lane.counted, counted)

    def _say_of(self, root: str, error: Away, behind: int = 0) -> None:
        """Log what goes wrong with one root, which must not hold up the others."""
        if self._roots.breaker.is_open:
            raise error
        self._say(root, error, root=root, **({"behind": behind} if behind else {}))

    def _say(self, name: str, error: Away, **words: str | int) -> None:
        """Log trouble that every second meets once, and then rarely."""
        now = self._monotonic()
        if name in self._said and now - self._said[name] < _SAY_AGAIN:
            return
        self._said[name] = now
        self._in_trouble.add(name)
        _log.warning("redis did not do what is due, trying again", error=str(error), **words)

    def _is_well(self, name: str) -> None:
        if name in self._in_trouble:
            self._in_trouble.discard(name)
            _log.info("redis does what is due again", **({"root": name} if name else {}))

    async def _forget_settled(self) -> None:
        """Let go of own holds that other data planes have settled."""
        for hold in self._roots.own.overdue(self._clock() - _OVERDUE, _MOST_CHECKED):
            root = asks.key_of(hold.windows)
            found, _ = await self._roots.ask(root, asks.locate(hold.reservation_id, "", ""))
            if not isinstance(found, list):
                self._roots.own.drop(hold.reservation_id)

    async def close(self) -> None:
        """Say how far the spool is counted: nothing more comes. Close the line."""
        try:
            for lane in self._roots.lanes:
                if lane.epoch is not None and not self._roots.breaker.is_open:
                    end = self._roots.history.end()
                    await self._roots.ask(lane.root, asks.beat(self._name, end))
            if not self._roots.breaker.is_open and all(
                lane.epoch is not None for lane in self._roots.lanes
            ):
                await self._roots.line.take_leave(self._name)
        except Away as error:
            _log.warning("the next start counts the end of the spool again", error=str(error))
        await self._roots.close()
