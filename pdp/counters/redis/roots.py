"""The roots that are counted in Redis, and how this data plane takes part in each.

To join a root is to have counted there all that this data plane has spooled; then the
counters are whole as far as it is concerned. It joins again when anything may have been
lost: after an outage, a call without an answer, and when Redis has a new epoch, that is, has
lost its data and been opened again.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol, TypeVar

import structlog

from pdp.counters.redis import answers, asks
from pdp.counters.redis.away import Away
from pdp.counters.redis.breaker import Breaker
from pdp.counters.redis.history import History, Op
from pdp.counters.redis.lane import MOST_OPS, Answered, Lane, end
from pdp.counters.redis.line import Line
from pdp.counters.redis.own import OwnHolds
from pdp.counters.redis.refusals import Refusals
from pdp.counters.redis.stats import LineStats
from pdp.errors import Unavailable
from pdp.ports import Clock
from pdp.quota.hold import Hold
from pdp.spend import Lot, Snapshot, SpendRow

_log = structlog.get_logger(__name__)

_APART: Final = "the same address is another Redis here than for the others: ask the operator"
_OPENING: Final = "the counters are being opened: try again"
_LOOKS, _LOOK_INTERVAL = 200, 0.05
"""How often it is looked whether another data plane has opened a root, and s between."""

_AT_ONCE: Final = 16
"""Roots that are tended at a time."""

_FEW: Final = 1000
"""Records that are counted within a deadline or two: for so many a request waits."""

_CATCH_UP: Final = 128
"""Ops in one call while more than that is behind: 4 ms of Redis."""

_GRACE: Final = 1.5
"""Seconds between opening a root and the first reservation: others look every second."""


class Ledger(Protocol):
    """What the control plane knows of a root. Raises `Unavailable`."""

    async def snapshot(self, root: str) -> Snapshot:
        """Return its sums, what is pending, and how far each spool is in them."""
        ...

    async def settled(self, decision_ids: Sequence[str]) -> set[str]:
        """Return those of the decisions whose outcome it knows."""
        ...


class Roots:
    """Lanes by root, behind one breaker.

    `patience` is how many seconds a request waits for its root to be joined. `hold_ttl` (ns) is
    how long a hold that is filled from the ledger awaits the data plane that made it. `time` is
    what calls are told that it is, in ns; 0: Redis has the clock. `turn` is around all that
    goes on at once when a call is answered.
    """

    def __init__(
        self,
        *,
        owner: str,
        line: Line,
        ledger: Ledger,
        history: History,
        own: OwnHolds,
        breaker: Breaker,
        stats: LineStats,
        patience: float,
        monotonic: Clock,
        hold_ttl: int,
        time: Clock = lambda: 0,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self.own = own
        self.taken_back: dict[str, tuple[str, bytes]] = {}
        """Holds that may have been made and that nobody knows of: the root, and what to ask."""
        self.stats = stats
        self.line = line
        self.breaker = breaker
        self.history = history
        self._owner = owner
        self._ledger = ledger
        self._patience = patience
        self._monotonic = monotonic
        self._hold_ttl = hold_ttl
        self._time = time
        self._refusals = Refusals(breaker.rest)
        self._turn = nullcontext() if turn is None else turn
        self.is_apart = False
        """This Redis is not the one in which the others count: nothing is counted here."""
        self._lanes: dict[str, Lane] = {}
        self._joining: dict[str, asyncio.Task[None]] = {}

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing can be counted anywhere."""
        return self.breaker.is_open or self.is_apart

    @property
    def lanes(self) -> list[Lane]:
        """Those of the roots that this data plane has heard of."""
        return list(self._lanes.values())

    async def each(self, do: Callable[[Lane], Awaitable[None]]) -> None:
        """Do something for every root, for some at a time: a slow one does not hold up others."""
        free = asyncio.Semaphore(_AT_ONCE)

        async def one(lane: Lane) -> None:
            async with free:
                await do(lane)

        await asyncio.gather(*map(one, self._lanes.values()))

    async def ask(self, root: str, op: bytes, now: int = 0) -> tuple[Any, int]:
        """Return (answer, Redis' time in ns) of an op. Raises `Away`."""
        lane = self.lane(root)
        for _ in range(2):
            if self.breaker.is_open:
                raise Away("Redis is away: try again")
            if self.is_apart:
                raise Away(_APART)
            if why := self._refusals.of(root, self._monotonic()):
                raise Away(why)
            if lane.epoch is None:
                await self.join(lane)
            answer, answered = await lane.ask(op, now)
            if answer != answers.NOT_OPEN:
                if answered.epoch != lane.epoch:
                    self.leave(lane)
                if failure := answers.failure_of(answer):
                    raise Away(f"Redis failed: {failure}", maybe_done=not answered.refused)
                return answer, answered.now
            self.leave(lane)
        raise Away(_OPENING)

    def counts(self, root: str) -> bool:
        """Tell whether what is asked now goes straight to Redis.

        If not, what has been spooled by now will be counted when the root is joined.
        """
        return not self.is_cut_off and self.lane(root).epoch is not None

    def lane(self, root: str) -> Lane:
        """Return the lane of a root."""
        lane = self._lanes.get(root)
        if lane is None:
            lane = self._lanes[root] = Lane(
                root,
                self._owner,
                self.line,
                self.breaker,
                self._failed,
                self._refused,
                self._turn,
            )
        return lane

    def _failed(self, began: int) -> None:
        was_open = self.breaker.is_open
        self.breaker.failed(self._monotonic(), began)
        if self.breaker.is_open and not was_open:
            self.away()
        # Whatever was asked may be done or not: count again what was spooled.
        self.leave_all()

    def _refused(self, root: str, why: str) -> None:
        """Note whether a root was written to, and if not, why."""
        before = len(self._refusals)
        if not (why or before):
            return
        self._refusals.note(root, why, self._monotonic())
        self.stats.refusing = len(self._refusals)
        if why and not before:
            _log.error("redis takes no writes: limits that need it deny", root=root, reason=why)
        elif before and not self._refusals:
            _log.warning("redis takes writes again")

    def away(self) -> None:
        """Note that Redis is away."""
        self.stats.is_away = True
        self.leave_all()
        _log.error("redis does not answer: limits that need it deny, the others go on")

    def back(self) -> None:
        """Note that Redis is back; each root is joined before anything is asked of it."""
        self.breaker.heal()
        self.leave_all()
        self.stats.is_away = False
        _log.warning("redis is back: counting what was spooled meanwhile")

    def part(self, *, is_apart: bool) -> None:
        """Note whether this Redis is another one than that of the others."""
        if is_apart == self.is_apart:
            return
        self.is_apart = self.stats.is_apart = is_apart
        self.leave_all()
        if is_apart:
            _log.error(
                "this redis is not the one in which the other data planes count: limits that "
                "need it deny, the others go on: see where PDP_REDIS_URL leads on each machine"
            )
        else:
            _log.warning("all data planes count in one redis again: counting what was spooled")

    def leave(self, lane: Lane) -> None:
        """Take part in a root no longer; the next call joins it again."""
        lane.epoch = None
        lane.floor = 0
        lane.left += 1

    def owe(self, root: str) -> None:
        """Note that something is to be counted from the spool: the next call joins the root."""
        self.leave(self.lane(root))

    def leave_all(self) -> None:
        """Take part in none."""
        for lane in self._lanes.values():
            self.leave(lane)

    async def join(self, lane: Lane) -> None:
        """Take part in a root; whoever comes meanwhile waits for the same. Raises `Away`."""
        task = self._joining.get(lane.root)
        if task is None:
            task = asyncio.create_task(self._join(lane))
            self._joining[lane.root] = task
            task.add_done_callback(lambda done: self._joined(lane.root, done))
            lane.behind = self.history.end() - lane.counted if lane.counted else 0
        if lane.behind > _FEW:
            raise Away("what was spooled meanwhile is being counted: try again")
        # Whoever gives up leaves it to the others.
        await asyncio.wait((task,), timeout=self._patience)
        if not task.done():
            raise Away(_OPENING)
        if task.cancelled():
            raise Away("the counters are closed")
        task.result()

    def _joined(self, root: str, task: asyncio.Task[None]) -> None:
        self._joining.pop(root, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Unavailable):
            _log.error("counters cannot be joined", root=root, exc_info=error)

    async def close(self) -> None:
        """Give up what still runs, and close the line; what is not counted is in the spool."""
        closing = (lane.close() for lane in self.lanes)
        await asyncio.gather(end(self._joining.values()), *closing)
        await self.line.close()

    async def _join(self, lane: Lane) -> None:
        """Count what was spooled and is not counted, opening the root if need be."""
        try:
            number, epoch = await self._position(lane)
            await self._cancel(lane, epoch)
            left, is_new = -1, epoch != lane.last_epoch
            while left != lane.left:
                # What is left over meanwhile may come behind what was read: go on from there.
                left, end = lane.left, self.history.end()
                lane.behind = end - number
                async for ops, following in self.history.since(lane.root, number):
                    # Said at once: should a call fail, it is gone on with from there.
                    ops.append((asks.beat(self.history.spool_id, following), None))
                    await self._count(lane, epoch, ops)
                    lane.counted = max(lane.counted, following)
                if is_new:
                    # Where it has been joined before, it knows all that is older.
                    await self._publish_own(lane, epoch)
                    is_new = False
                number = max(number, end)
            await self.line.add_root(lane.root)
        except Away:
            raise
        except Unavailable as error:
            raise Away(f"the counters cannot be opened: {error}") from error
        lane.joined(epoch)

    async def _count(self, lane: Lane, epoch: bytes, ops: Sequence[Op]) -> None:
        """Do again what was spooled; note where another report was counted meanwhile."""
        is_patient = lane.behind > _FEW
        for lot in _lots(ops, _CATCH_UP if is_patient else MOST_OPS):
            asked = [op for op, _ in lot]
            called = lane.call(asked, self._time(), is_patient=is_patient)
            answered = self._expect(await called, epoch)
            for (_, settled), answer in zip(lot, answered.answers, strict=True):
                if settled is not None:
                    outcome = answers.settled_of(answer)
                    if not isinstance(outcome, bool):
                        self.history.overrule(settled, outcome)

    async def _cancel(self, lane: Lane, epoch: bytes) -> None:
        """Take back what nobody knows of; should it be made only now, it is refused."""
        owed = [(name, op) for name, (root, op) in self.taken_back.items() if root == lane.root]
        for some in _lots(owed):
            self._expect(await lane.call([op for _, op in some], self._time()), epoch)
            for name, _ in some:
                self.taken_back.pop(name, None)

    def _expect(self, answered: Answered, epoch: bytes) -> Answered:
        if answered.epoch != epoch:
            raise Away("the counters were lost again: try again")
        for answer in answered.answers:
            if failure := answers.failure_of(answer):
                raise Away(f"Redis failed: {failure}")
        return answered

    async def _position(self, lane: Lane) -> tuple[int, bytes]:
        """Return (first record of the spool that may not be counted, the epoch)."""
        for _ in range(_LOOKS):
            lane.floor = 0
            answered = await lane.call([asks.beat(self.history.spool_id)], self._time())
            if answered.epoch is not None:
                self._expect(answered, answered.epoch)
                return int(answered.answers[0] or 0), answered.epoch
            if not await self._open(lane):
                await asyncio.sleep(_LOOK_INTERVAL)
        raise Away(_OPENING)

    async def _open(self, lane: Lane) -> bool:
        """Fill a root that Redis knows nothing of from the ledger; False if another does."""
        epoch = secrets.token_hex(8)
        began = await lane.call([asks.begin(epoch)], self._time())
        if failure := answers.failure_of(began.answers[0]):
            raise Away(f"Redis failed: {failure}")
        if not began.answers[0]:
            return False
        # Before: others may drop what the ledger gets from now on, unless they hear of the root.
        await self.line.add_root(lane.root)
        snapshot = await self._ledger.snapshot(lane.root)
        async for lot in snapshot.lots:
            if lot:
                await self._fill(lane, _filling(epoch, began.now + self._hold_ttl, lot))
        others = snapshot.spools.keys() - {self.history.spool_id}
        await self._fill(lane, asks.opened(epoch, snapshot.spools, _GRACE if others else 0.0))
        _log.warning("counters opened from the ledger", root=lane.root, epoch=epoch)
        return True

    async def _fill(self, lane: Lane, op: bytes) -> None:
        (answer,) = (await lane.call([op], self._time())).answers
        if failure := answers.failure_of(answer):
            raise Away(f"Redis failed: {failure}")
        if not answer:
            raise Away("the counters are opened by another: try again")

    async def _publish_own(self, lane: Lane, epoch: bytes) -> None:
        """Hold what is held, unless another data plane has settled it: the ledger knows."""
        own, missing = self.own.of_root(lane.root), []
        for some in _lots(own):
            asked = [asks.locate(hold.reservation_id, "", "", anew=True) for hold in some]
            answered = self._expect(await lane.call(asked, self._time()), epoch)
            for hold, found in zip(some, answered.answers, strict=True):
                if found == b"settled":
                    self.own.drop(hold.reservation_id)
                elif found == b"unknown" or answers.is_filled(found):
                    missing.append(hold)
        if not missing:
            return
        settled = await self._ledger.settled([hold.decision_id for hold in missing])
        for hold in missing:
            if hold.decision_id in settled:
                self.own.drop(hold.reservation_id)
        held = [hold for hold in missing if hold.decision_id not in settled]
        for lot in _lots([asks.publish(hold, is_counted=True) for hold in held]):
            self._expect(await lane.call(lot, self._time()), epoch)


def _filling(epoch: str, ends: int, lot: Lot) -> bytes:
    rows = [each for each in lot if isinstance(each, SpendRow)]
    if rows:
        return asks.fill(epoch, rows)
    return asks.fill_held(epoch, ends, [each for each in lot if isinstance(each, Hold)])


T = TypeVar("T")


def _lots(items: Sequence[T], most: int = MOST_OPS) -> Iterator[list[T]]:
    for start in range(0, len(items), most):
        yield list(items[start : start + most])
