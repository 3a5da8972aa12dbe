"""The shipper: the ledger's place rules, and a spool that is too old is refused."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from pdp.data.shipper import Shipper
from pdp.errors import Refused, StartRefused, Unavailable


class Spool:
    """Ten records, or as many as there are."""

    def __init__(self, count: int = 10) -> None:
        self.spool_id = "spool"
        self.next_sequence = count
        self.shipped_until = -1

    def read(self, from_sequence: int, max_records: int) -> Sequence[tuple[int, bytes]]:
        numbers = range(from_sequence, self.next_sequence)[:max_records]
        return [(number, b"%d" % number) for number in numbers]

    def shipped(self, next_sequence: int) -> None:
        self.shipped_until = next_sequence


class Ledger:
    """Takes batches; `down` while it cannot."""

    def __init__(self, following: int = 0) -> None:
        self.following = following
        self.taken: list[bytes] = []
        self.down = False
        self.asked = asyncio.Event()

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        self.asked.set()
        if self.down:
            raise Unavailable("down")
        if records:
            assert first_sequence == self.following
            self.taken += records
            self.following += len(records)
        return self.following


async def test_everything_is_shipped_once_from_where_the_ledger_is() -> None:
    spool, ledger = Spool(), Ledger(following=4)
    shipper = Shipper(spool, ledger)
    assert shipper.backlog == 0, "nobody knows yet"
    await shipper.drain()
    assert ledger.taken == [b"%d" % number for number in range(4, 10)]
    assert (spool.shipped_until, shipper.backlog) == (10, 0)
    spool.next_sequence = 12
    assert shipper.backlog == 2


async def test_an_old_copy_of_a_spool_is_refused() -> None:
    with pytest.raises(StartRefused, match=r"ends at record 10, the ledger has 11 .* old copy"):
        await Shipper(Spool(), Ledger(following=11)).ship()


async def test_records_that_came_since_do_not_make_an_old_copy_newer() -> None:
    spool, ledger = Spool(), Ledger(following=11)
    shipper = Shipper(spool, ledger)
    spool.next_sequence = 12
    with pytest.raises(StartRefused, match="old copy"):
        await shipper.ship()
    assert not shipper.placed.is_set()
    assert ledger.taken == []


async def test_reading_the_spool_does_not_hold_up_the_loop() -> None:
    class SlowSpool(Spool):
        def read(self, from_sequence: int, max_records: int) -> Sequence[tuple[int, bytes]]:
            assert went_on.wait(60), "the loop waits for the disk"
            return super().read(from_sequence, max_records)

    went_on = threading.Event()
    shipping = asyncio.create_task(Shipper(SlowSpool(), Ledger()).ship())
    asyncio.get_running_loop().call_later(0.01, went_on.set)
    assert await shipping


async def test_it_goes_on_when_the_ledger_is_back(caplog: pytest.LogCaptureFixture) -> None:
    spool, ledger = Spool(), Ledger()
    ledger.down = True
    shipper = Shipper(spool, ledger, idle=0, retry_delay=0)
    running = asyncio.create_task(shipper.run())
    for _ in range(5):
        ledger.asked.clear()
        await asyncio.wait_for(ledger.asked.wait(), 60)
    assert not running.done()
    ledger.down = False
    while len(ledger.taken) < 10:
        ledger.asked.clear()
        await asyncio.wait_for(ledger.asked.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert spool.shipped_until == 10


class Refusing(Ledger):
    """Refuses the record `bad`, and says how often it was asked for it."""

    def __init__(self, bad: bytes) -> None:
        super().__init__()
        self.bad = bad
        self.asked_for_bad = 0

    async def ingest(self, spool_id: str, first_sequence: int, records: Sequence[bytes]) -> int:
        if self.bad in records:
            self.asked.set()
            self.asked_for_bad += 1
            raise Refused("the control plane refuses: a record cannot be read")
        return await super().ingest(spool_id, first_sequence, records)


async def test_a_refusal_is_said_again_and_again_and_over_when_the_records_are_taken() -> None:
    spool, ledger = Spool(), Refusing(b"7")
    shipper = Shipper(spool, ledger, idle=0, retry_delay=3600, refused_delay=0)
    with capture_logs() as logs:
        running = asyncio.create_task(shipper.run())
        while ledger.asked_for_bad < 25:
            ledger.asked.clear()
            await asyncio.wait_for(ledger.asked.wait(), 60)
        said = [entry for entry in logs if entry["log_level"] == "error"]
        assert [entry["refusals"] for entry in said] == [1, 13, 25]
        assert all("cannot be read" in entry["error"] for entry in said)
        assert {entry["first_sequence"] for entry in said} == {0}
        assert shipper.refusals >= 25
        ledger.bad = b"none"
        while len(ledger.taken) < 10:
            ledger.asked.clear()
            await asyncio.wait_for(ledger.asked.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert shipper.refusals == 0
    assert spool.shipped_until == 10
