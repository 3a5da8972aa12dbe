"""Requests as a data plane counts, spools and ships them, step by step, on a desk's own keys."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from msgspec.structs import replace

from pdp.control.books import SqlBooks, books_of
from pdp.counters.redis import asks
from pdp.counters.redis.line import Line
from pdp.counters.redis.watched import WatchedCounters
from pdp.ids import IdSource
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Admitted, Hold, Reserve, Settlement, Verdict
from pdp.quota.plan import plan_of
from pdp.quota.windows import ChainWindows
from pdp.reconcile.comparison import Pace
from pdp.reconcile.reconciler import Choice, Outcome, Reconciler, always, never
from pdp.reconcile.sums import Place
from pdp.records import Expired, Held, Record, Settled
from tests.contract.world import SECOND, TTL, USD, scope
from tests.counting import Plane
from tests.redis import RedisServer
from tests.unit.control.desk import Desk, facts

AT_ONCE = Pace(rest=0, landed=0, patience=1e6)
FIELDS = {"spent": "s", "held": "h", "tokens_spent": "ts", "tokens_held": "th", "requests": "r"}


class Till:
    """One data plane's counters and spool; `ship` brings the ledger up to date."""

    def __init__(
        self, server: RedisServer, desk: Desk, chain: tuple[str, ...], url: str = ""
    ) -> None:
        self.server = server
        self.desk = desk
        self.chain = chain
        self.root = chain[-1]
        self.now = desk.now
        self.spool: list[Record] = []
        self.shipped = 0
        self.plane = Plane(url or server.local_url, now=lambda: self.now)
        self._ids = IdSource("boot")
        self._names = count()
        self._shipping = asyncio.Lock()
        self.calendar = Calendar("UTC")

    def use(self, calendar: Calendar, **limits: Any) -> None:
        """Set the timezone, and the root's limits."""
        self.calendar = calendar
        self.scopes = tuple(
            scope(key_id, calendar, **(limits if key_id == self.root else {}))
            for key_id in self.chain
        )
        self.windows = ChainWindows(self.chain, calendar)

    def hold(self, cost: int, tokens: int = 0) -> Hold:
        """Make a hold of the leaf, now."""
        made, leaf = self._ids(), self.chain[0]
        return Hold(
            f"res_{made}.{self.root}",
            f"dec_{made}",
            leaf,
            f"req_{made}",
            0,
            "chat:completions",
            "gpt-4o",
            "openai",
            cost,
            0,
            tokens,
            tokens,
            self.windows.at(self.now),
            self.now,
            self.now + TTL,
        )

    async def reserve(self, hold: Hold) -> Verdict:
        """Ask for a hold, without writing anything down."""
        return await self.plane.counters.reserve(Reserve(hold, plan_of(self.scopes), (), self.now))

    async def check(self, cost: int, tokens: int = 0) -> Hold | None:
        """Hold and write it down; None: refused."""
        hold = self.hold(cost, tokens)
        if not isinstance(await self.reserve(hold), Admitted):
            return None
        known = self._facts(hold)
        self.spool.append(Held(self.now, known, hold, ()))
        return hold

    async def report(self, hold: Hold, cost: int, tokens: int = 0) -> None:
        """Write down and settle."""
        self.write_report(hold, cost, tokens)
        await self._settle(hold, cost, tokens)

    def write_report(self, hold: Hold, cost: int, tokens: int = 0) -> None:
        """Write a report down that the counters do not hear of."""
        self.spool.append(self._settled(hold.reservation_id, self._facts(hold), cost, tokens))

    async def expire(self, hold: Hold, cost: int) -> None:
        """Let a hold run out."""
        names = hold.decision_id, hold.reservation_id, hold.key_id, hold.request_id
        self.spool.append(Expired(self.now, *names, cost, 0, hold.windows))
        await self._settle(hold, cost, 0, expired=True)

    async def use_unchecked(self, cost: int, tokens: int = 0) -> None:
        """Report a usage that was never checked."""
        request = f"req_free_{next(self._names)}"
        known = replace(facts(f"dec_{request}", self.chain[0]), request_id=request)
        self.spool.append(self._settled("", known, cost, tokens))
        windows = self.windows.at(self.now)
        op = Settlement("", self.chain[0], request, cost, tokens, windows, self.now)
        await self.plane.counters.settle(op)

    async def ship(self, count: int | None = None) -> None:
        """Bring the next records into the ledger."""
        async with self._shipping:
            end = len(self.spool) if count is None else self.shipped + count
            records = self.spool[self.shipped : end]
            if records:
                self.shipped = await self.desk.take(*records, first=self.shipped, spool="spool1")

    async def beat(self, number: int) -> None:
        """Say, as a data plane does, up to which record all is counted."""
        await self.plane.roots.ask(self.root, asks.beat("spool1", number), self.now)

    def shift(self, key_id: str, period: str, what: str, amount: int) -> Place:
        """Make a counter wrong; return where."""
        day, month = self.calendar.day(self.now)[0], self.calendar.month(self.now)[0]
        start = {"day": day, "month": month, "total": 0}[period]
        place = Place(key_id, period, start)  # type: ignore[arg-type]
        with self.server.client() as client:
            client.hincrby(self.name_of(place), FIELDS[what], amount)
        return place

    def name_of(self, place: Place) -> str:
        """Return what Redis calls a place."""
        end = "" if place.period == "total" else f":{place.start}"
        return f"pdp:{{{self.root}}}:{place.period[0]}:{place.key_id}{end}"

    def counted(self, place: Place, what: str) -> int:
        """Return what Redis has."""
        with self.server.client() as client:
            return int(client.hget(self.name_of(place), FIELDS[what]) or 0)

    async def books(self) -> SqlBooks:
        """Return the ledger."""
        (books,) = await books_of(self.desk.database)
        return books

    def watched(self, line: Line, who: str = "test") -> WatchedCounters:
        """Return the counters as a comparison sees them."""
        return WatchedCounters(line, self.root, who, time=lambda: self.now)

    async def reconcile(
        self,
        *,
        correct: bool | Choice = False,
        pace: Pace = AT_ONCE,
        rest: Callable[[float], Awaitable[object]] | None = None,
        monotonic: Callable[[], int] = lambda: 0,
    ) -> Outcome:
        """Compare, and correct."""

        async def no_rest(_: float) -> None:
            return

        reconciler = Reconciler(
            clock=lambda: self.now,
            monotonic=monotonic,
            rest=rest or no_rest,
            pace=pace,
            hold_ttl=TTL,
        )
        counters = self.watched(self.plane.line)
        if isinstance(correct, bool):
            correct = always if correct else never
        return await reconciler.reconcile(await self.books(), counters, correct=correct)

    async def _settle(self, hold: Hold, cost: int, tokens: int, *, expired: bool = False) -> None:
        names = hold.reservation_id, hold.key_id, hold.request_id
        op = Settlement(*names, cost, tokens, hold.windows, self.now, expired=expired)
        await self.plane.counters.settle(op)

    def _facts(self, hold: Hold) -> Any:
        return replace(facts(hold.decision_id, hold.key_id), request_id=hold.request_id)

    def _settled(self, reservation_id: str, known: Any, cost: int, tokens: int) -> Settled:
        return Settled(
            at=self.now,
            facts=known,
            reservation_id=reservation_id,
            status="success",
            http_status=200,
            prompt_tokens=tokens,
            completion_tokens=0,
            cached_tokens=0,
            counted_tokens=tokens,
            cost=cost,
            latency_ms=1,
            started_at=None,
            usage_source="provider",
            windows=self.windows.at(self.now),
        )


@asynccontextmanager
async def opened_till(server: RedisServer, desk: Desk, url: str = "") -> AsyncIterator[Till]:
    """Give a till on a leaf, a team and the root of a desk; `url`: of a Cluster of `server`."""
    server.flush()
    team = await desk.create(key_type="team", team_id="team")
    leaf = await desk.create(key_type="user", team_id="team", user_id="user")
    till = Till(server, desk, (leaf["id"], team["id"], desk.root.key_id), url)
    till.use(Calendar("UTC"))
    yield till
    await till.plane.close()


def told(outcome: Outcome) -> set[tuple[Place, str, int]]:
    """Return what differs, and by how much."""
    return {
        (Place(each.key_id, each.period, each.start), each.what, each.difference)
        for each in outcome.drifts
    }


async def busy(till: Till) -> None:
    """Leave a request behind in each state that there is."""
    settled, expired, corrected = [await till.check(USD, 10) for _ in range(3)]
    assert settled
    assert expired
    assert corrected
    await till.report(settled, USD // 2, 5)
    await till.expire(expired, USD)
    await till.expire(corrected, USD)
    await till.report(corrected, USD // 4, 2)
    await till.use_unchecked(7, 1)
    await till.check(3 * USD, 30)


class Ticks:
    """A clock that goes on by half a second a look."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += SECOND // 2
        return self.now
