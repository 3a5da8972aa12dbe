"""Data planes' counters in Redis, without the rest of a data plane."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pdp.counters.redis.address import parse_address
from pdp.counters.redis.alone import Alone
from pdp.counters.redis.breaker import Breaker
from pdp.counters.redis.counters import RedisCounters
from pdp.counters.redis.history import History
from pdp.counters.redis.line import Line
from pdp.counters.redis.own import OwnHolds
from pdp.counters.redis.roots import Roots
from pdp.counters.redis.stats import LineStats
from pdp.counters.redis.tender import Tender
from pdp.ids import IdSource
from pdp.quota.hold import Hold
from pdp.records import Record, encode
from pdp.spend import Lot, Snapshot, SpendRow
from tests.contract.world import NOON, TTL, World
from tests.redis import RedisServer

PATIENT = 30.0
"""Seconds: a busy machine is no outage."""

IMPATIENT = 0.3
"""Seconds that a call waits for a Redis that is known to stand still."""


class Books:
    """A ledger with what a test has put into it, and the spools of all data planes."""

    def __init__(self) -> None:
        self.spools: dict[str, list[Record]] = {}
        self.taken: dict[str, int] = {}
        self.rows: list[SpendRow] = []
        self.pending: list[Hold] = []
        self.outcomes: set[str] = set()

    async def snapshot(self, root: str) -> Snapshot:
        """Return the sums, and what is pending."""

        async def lots() -> AsyncIterator[Lot]:
            yield self.rows
            yield self.pending

        return Snapshot(dict(self.taken), lots())

    async def settled(self, decision_ids: Sequence[str]) -> set[str]:
        """Return the decisions that are settled."""
        return self.outcomes & set(decision_ids)

    def spool(self, name: str) -> list[Record]:
        """Return a spool."""
        return self.spools.setdefault(name, [])


class Plane:
    """The counters of one data plane; what a test writes into `spool` is counted on joining."""

    def __init__(
        self,
        url: str,
        name: str = "spool1",
        books: Books | None = None,
        *,
        now: Callable[[], int] | None = None,
        patience: float = PATIENT,
        is_lenient: bool = False,
        holds: Sequence[Hold] = (),
        rest: int = 0,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self.books = books or Books()
        self.spool = self.books.spool(name)
        self.stats = LineStats()
        self.ticks = 0
        self.line = Line(
            parse_address(url), deadline=PATIENT, most_connections=16, stats=self.stats
        )
        self.roots = Roots(
            owner=name,
            line=self.line,
            ledger=self.books,
            history=self._history(name),
            own=OwnHolds(holds),
            breaker=Breaker(rest),
            stats=self.stats,
            patience=patience,
            monotonic=lambda: self.ticks,
            hold_ttl=TTL,
            time=now or (lambda: 0),
            turn=turn,
        )
        self.counters = RedisCounters(
            self.roots,
            lambda key_id: "root",
            Alone(is_lenient=is_lenient),
            own_clock=now is not None,
        )

    def _history(self, name: str) -> History:
        async def read(first: int, most: int) -> list[tuple[int, bytes]]:
            some = self.spool[first : first + most]
            return [(first + at, encode(record)) for at, record in enumerate(some)]

        def shipped() -> int:
            return self.books.taken.get(name, 0)

        return History(name, read, lambda: len(self.spool), shipped, self.spool.append)

    @contextmanager
    def hurried(self, seconds: float = IMPATIENT) -> Iterator[None]:
        """Be impatient for once: before and after, a busy machine has its time."""
        self.line._deadline = seconds
        try:
            yield
        finally:
            self.line._deadline = PATIENT

    @contextmanager
    def frozen(self, server: RedisServer) -> Iterator[None]:
        """Let Redis stand still, and be impatient meanwhile."""
        server.freeze()
        try:
            with self.hurried():
                yield
        finally:
            server.thaw()

    async def close(self) -> None:
        """Let go of Redis."""
        await self.roots.close()


class Fleet:
    """Data planes with one ledger and one Redis; each has a world of its own to ask from."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.books = Books()
        self.ids = IdSource("boot")
        self.planes: list[Plane] = []
        self.now = NOON

    def plane(self, name: str = "spool1", **options: Any) -> Plane:
        """Return another data plane."""
        options = {"now": lambda: self.now, **options}
        plane = Plane(self.server.local_url, name, self.books, **options)
        self.planes.append(plane)
        return plane

    def world(self, plane: Plane, **limits: Any) -> World:
        """Return a world that asks a data plane."""
        return World(plane.counters, self.ids, suffix=".root", **limits)

    def tender(self, plane: Plane, reached: Callable[[int], None] = lambda _: None) -> Tender:
        """Return who keeps house for a data plane."""
        return Tender(
            plane.counters,
            plane.roots,
            plane.roots.history.spool_id,
            lambda: self.now,
            lambda: plane.ticks,
            reached,
        )
