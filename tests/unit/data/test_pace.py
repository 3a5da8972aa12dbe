"""The shipper's pace: at once when idle, a quarter of the time under load, and it drains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.data.pace import BUSY, FULL, LONGEST, Look, is_busy, rest_after
from pdp.data.shipper import Shipper
from tests.unit.data.test_shipper import Ledger, Spool


@pytest.mark.parametrize(
    ("came", "seconds", "busy"),
    [(0, 0.1, False), (BUSY - 1, 1.0, False), (BUSY, 1.0, True), (100, 0.01, True), (5, 0, False)],
)
def test_many_records_a_second_are_load(came: int, seconds: float, busy: bool) -> None:
    assert is_busy(Look(7.0, 100), Look(7.0 + seconds, 100 + came)) is busy


def test_it_works_a_quarter_of_the_time_and_more_the_more_waits() -> None:
    assert rest_after(0.02, 0) == pytest.approx(0.06)
    assert rest_after(0.02, FULL // 2) == pytest.approx(0.03)
    assert rest_after(0.02, FULL) == rest_after(0.02, 9 * FULL) == 0
    assert rest_after(30.0, 0) == LONGEST


@given(st.floats(0, 100), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_rest_shrinks_with_the_backlog(took: float, some: int, more: int) -> None:
    assert LONGEST >= rest_after(took, some) >= rest_after(took, some + more) >= 0


class Day:
    """A spool, a ledger and a clock: `cycle` is one batch and the rest after it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spool, self.ledger = Spool(0), Ledger()
        self.shipper = Shipper(self.spool, self.ledger, clock=lambda: self.now)

    async def cycle(self, took: float, a_second: float) -> float:
        """Ship a batch in `took` seconds while records come; return the rest, which is over."""
        await self.shipper.ship()
        self.pass_(took, a_second)
        rest = self.shipper.rest(took)
        self.pass_(rest, a_second)
        return rest

    def pass_(self, seconds: float, a_second: float) -> None:
        self.now += seconds
        self.spool.next_sequence += round(seconds * a_second)


async def test_an_idle_data_plane_ships_as_soon_as_ever() -> None:
    day = Day()
    for _ in range(5):
        assert await day.cycle(0.005, a_second=100) == 0.1
    day.spool.next_sequence += 40_000  # As after a restart: nobody waits for these but auditors.
    day.now += 100
    while day.shipper.backlog > 1000:
        assert await day.cycle(0.02, a_second=100) == 0


async def test_under_steady_load_the_backlog_finds_its_level_and_drains_afterwards() -> None:
    day = Day()
    levels = []
    for _ in range(4000):
        await day.cycle(0.025, a_second=10_000)  # Of 20,000 a second that the ledger can take.
        levels.append(day.shipper.backlog)
    assert max(levels) < FULL
    assert levels[-1] == pytest.approx(levels[-1000], rel=0.05)
    busy_until = day.now
    while day.shipper.backlog:
        await day.cycle(0.025, a_second=0)
    assert day.now - busy_until < FULL / 20_000 + 1
    assert len(day.ledger.taken) == day.spool.next_sequence


async def test_more_than_the_ledger_can_take_is_shipped_without_rest() -> None:
    day = Day()
    day.spool.next_sequence = FULL + 1000
    assert await day.cycle(0.025, a_second=30_000) == 0
