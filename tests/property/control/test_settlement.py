"""A hold that nobody reports in time ends by policy, and one late report corrects it, whatever
happens in between: restarts, other days and months, a key that is gone, a ledger that is away.

The real engine, counters, spool and ledger; time is the test's.
"""

import asyncio
import tempfile
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from pdp.control.ingest import ingest
from pdp.control.usage import usage_by_group
from pdp.counters.memory import MemoryCounters
from pdp.engine import Engine
from pdp.ids import IdSource
from pdp.model import Decision, Reported, Request, Usage, UsageStatus
from pdp.options import Options
from pdp.quota.calendar import Calendar
from pdp.serve.sink import JournalSink
from pdp.spool.journal import Journal
from pdp.spool.keeper import SpoolKeeper
from pdp.spool.recover import recover
from pdp.stats import Stats
from pdp.store.sight import Sight
from tests.examples import tries
from tests.store import Store
from tests.unit.control.desk import Desk, opened_desk, rows, spend
from tests.unit.spool.desk import totals
from tests.wire.harness import Clock, FixedPrices, Keys, record

HOUR = 3600 * 10**9
TTL = 600 * 10**9
CHECKED = (
    datetime(2026, 11, 30, 23, 55, tzinfo=UTC),  # A month ends.
    datetime(2026, 11, 1, 5, 30, tzinfo=UTC),  # New York sets its clocks back.
    datetime(2026, 3, 29, 0, 58, tzinfo=UTC),  # Berlin sets them forward.
)
HELD = {"full": (10 + 2 * 20) * 1000, "input": 10 * 1000, "zero": 0}
"""nano-USD for 10 prompt and 20 output tokens at 1 and 2 USD a million."""
Unreported = Literal["full", "input", "zero"]


class Life(Struct, frozen=True):
    """What happens to one request. `late`: hours after its expiry in which a report comes."""

    checked: datetime
    zone: str
    policy: Unreported
    late: float
    by: str
    status: UsageStatus
    cost: int | None
    key_gone: bool
    ledger_away: bool
    restart_before_expiry: str
    restart_before_report: str
    restart_at_last: str


RESTARTS = st.sampled_from(("", "killed", "stopped"))
LIVES = st.builds(
    Life,
    checked=st.sampled_from(CHECKED),
    zone=st.sampled_from(("UTC", "America/New_York", "Europe/Berlin")),
    policy=st.sampled_from(("full", "input", "zero")),
    late=st.sampled_from((-0.1, 0.0, 0.5, 24.0, 47.9, 49.1, 60.0)),
    by=st.sampled_from(("reservation", "request")),
    status=st.sampled_from(("success", "error", "cancelled")),
    cost=st.none() | st.integers(0, 10**6),
    key_gone=st.booleans(),
    ledger_away=st.booleans(),
    restart_before_expiry=RESTARTS,
    restart_before_report=RESTARTS,
    restart_at_last=RESTARTS,
)


class World:
    """A data plane that is restarted, and the ledger that it ships to."""

    def __init__(self, folder: Path, desk: Desk, life: Life) -> None:
        self.folder = folder
        self.desk = desk
        self.life = life
        self.keys = Keys(record("root"), record("leaf", parent_key_id="root"), timezone=life.zone)
        self.clock = Clock(int(life.checked.timestamp()) * 10**9)
        self.starts = 0
        self.counters: MemoryCounters
        self.journal: Journal
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.counters, self.journal = recover(
            self.folder, new_spool_id="spool", now=self.clock.now, segment_bytes=500
        )
        self.engine = Engine(
            keys=self.keys,
            counters=self.counters,
            prices=FixedPrices(),
            sink=JournalSink(self.journal),
            clock=self.clock,
            ids=IdSource(f"boot{self.starts}"),
            options=Options(unreported=self.life.policy, hold_ttl=TTL),
            stats=Stats(),
        )

    def end(self) -> None:
        self.counters.seen.close()
        self.journal.close()

    async def restart(self, how: str) -> None:
        if how == "killed":
            self.end()
        elif how == "stopped":
            keeper = SpoolKeeper(self.journal, self.counters, self.clock)
            await keeper.keep()
            keeper.close()
        if how:
            self.start()

    async def ship(self, *, at_last: bool = False) -> None:
        if self.life.ledger_away and not at_last:
            return
        self.journal.sync()
        following = await ingest(self.desk.database, "spool", 0, ())
        batch = self.journal.read(following, 1000)
        sent = [data for _, data in batch]
        self.journal.shipped(await ingest(self.desk.database, "spool", following, sent))

    async def report(self, hold: Decision) -> Reported:
        by_request = self.life.by == "request"
        usage = Usage(
            request_id="r1" if by_request else "",
            reservation_id="" if by_request else hold.reservation_id,
            key_id="leaf" if by_request else "",
            status=self.life.status,
            prompt_tokens=3,
            completion_tokens=4,
            cost=self.life.cost,
        )
        return await settled(self.engine.report(usage))


async def settled(answer: Reported | Awaitable[Reported]) -> Reported:
    return answer if isinstance(answer, Reported) else await answer


async def live(store: Store, life: Life, folder: Path) -> None:
    async with store.initialized() as url, opened_desk(url, timezone=life.zone) as desk:
        world = World(folder, desk, life)
        hold = world.engine.check(
            Request("r1", "leaf", "chat:completions", "gpt-4o", "", "", "", 10, 20)
        )
        assert isinstance(hold, Decision)
        assert hold.allowed
        await world.ship()
        checked_at = world.clock.now
        await world.restart(life.restart_before_expiry)
        if life.late >= 0:
            world.clock.now = checked_at + TTL
            await world.engine.expire()
            await world.ship()
            check(world, HELD[life.policy], 0)
        if life.key_gone:
            del world.keys.records["leaf"]
        world.clock.now = checked_at + TTL + int(life.late * HOUR)
        await world.restart(life.restart_before_report)
        in_time = life.late <= 48
        first = await world.report(hold)
        assert first.result == ("accepted" if in_time else "duplicate"), first
        await world.ship()
        again = await world.report(hold)
        await world.restart(life.restart_at_last)
        world.clock.now += HOUR
        later = await world.report(hold)
        await world.engine.expire()
        assert (again.result, later.result) == ("duplicate", "duplicate")
        priced = 3 * 1000 + 4 * 2000 if life.cost is None else life.cost
        cost = priced if in_time else HELD[life.policy]
        check(world, cost, 0)
        await world.ship(at_last=True)
        await check_ledger(world, checked_at, cost, "expired" if not in_time else life.status)
        world.end()


def check(world: World, spent: int, held: int) -> None:
    """Counters of the key and the one above it are exactly that, for one request."""
    assert totals(world.counters) == dict.fromkeys(("leaf", "root"), (spent, held, 1))


async def check_ledger(world: World, at: int, cost: int, status: str) -> None:
    """One entry, and sums in the windows of the Check."""
    database = world.desk.database
    (row,) = [each for each in (await rows(database)).values() if each["request_id"] == "r1"]
    assert (row["status"], row["charged_cost"], row["held_cost"]) == (status, cost, 0)
    assert row["usage_source"] == ("none" if status == "expired" else "provider")
    calendar = Calendar(world.life.zone)
    starts = {"day": calendar.day(at)[0], "month": calendar.month(at)[0], "total": 0}
    assert {name: (sums[0], *sums[2:4]) for name, sums in (await spend(database)).items()} == {
        (key_id, period, start): (cost, 1, 0)
        for key_id in ("leaf", "root")
        for period, start in starts.items()
    }
    found = (await usage_by_group(database, Sight("org"), "day"))["usage"]
    date = datetime.fromtimestamp(at // 10**9, ZoneInfo(world.life.zone)).date().isoformat()
    assert [(row["day"], row["requests"], round(row["cost_usd"] * 1e9)) for row in found] == [
        (date, 1, cost)
    ]


@tries(25)
@given(LIVES)
def test_whatever_comes_late_is_corrected_once(sqlite_store: Store, life: Life) -> None:
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(live(sqlite_store, life, Path(name)))
