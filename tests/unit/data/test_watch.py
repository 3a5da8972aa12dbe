"""The watch: changes reach the keys at once, whatever else is slow or broken."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from pdp.data.control import Change
from pdp.data.price_file import PriceFile
from pdp.data.watch import CurrentPrices, Watch
from pdp.errors import StartRefused, Unavailable
from pdp.quota.match import Match
from pdp.quota.price import ModelPrice, Price, PriceList, PriceTable, ProviderPrices, Rates

NOW = 1_000


def priced(amount: int) -> PriceList:
    """Return a list with the one model `m` of the provider `p`."""
    entry = ModelPrice(Match(equals=("m",)), Price(Rates(amount, amount, amount)))
    return PriceList((ProviderPrices("p", models=(entry,)),))


def amount(price: Price | None) -> int:
    assert price is not None
    return price.rates.prompt


def change(revision: int, *key_ids: str, prices: str = "p1", reset: bool = False) -> Change:
    return Change(revision, key_ids, (), reset, prices)


class Keys:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.heard = asyncio.Condition()
        self.apart: list[bool | None] = []

    def _note(self, what: Any) -> None:
        self.told.append(what)

    def alive(self) -> None:
        self._note("alive")

    def lost(self) -> None:
        self._note("lost")

    def reset(self) -> None:
        self._note("reset")

    def changed(self, key_ids: Any, secret_hashes: Any) -> None:
        self._note(tuple(key_ids))


class Control:
    """Sends what a test puts into `changes`; an exception ends the stream with it."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[Change | Exception] = asyncio.Queue()
        self.after: list[int] = []
        self.prices_gate = asyncio.Event()
        self.prices_gate.set()
        self.prices_fail = 0
        self.fetched = 0
        self.prices_now = ("p1", PriceList())

    async def watch(self, after_revision: int, data_plane_id: str) -> AsyncIterator[Change]:
        self.after.append(after_revision)
        while True:
            found = await self.changes.get()
            if isinstance(found, Exception):
                raise found
            yield found

    async def prices(self) -> tuple[str, PriceList]:
        self.fetched += 1
        await self.prices_gate.wait()
        if self.prices_fail:
            self.prices_fail -= 1
            raise Unavailable("no prices")
        return self.prices_now


@pytest.fixture
async def parts() -> AsyncIterator[tuple[Control, Keys, Watch, "asyncio.Task[None]"]]:
    control, keys = Control(), Keys()
    watch = Watch(
        control,
        keys,  # type: ignore[arg-type]
        "test",
        clock=lambda: NOW,
        apart=keys.apart.append,
        retry_delay=0,
    )
    task = asyncio.create_task(watch.run())
    yield control, keys, watch, task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def settle(keys: Keys, what: Any) -> None:
    async with asyncio.timeout(60):
        while what not in keys.told:  # noqa: ASYNC110  The keys know nothing of events.
            await asyncio.sleep(0)


Parts = tuple[Control, Keys, Watch, "asyncio.Task[None]"]


async def test_it_is_ready_once_there_are_prices(parts: Parts) -> None:
    control, keys, watch, _ = parts
    control.prices_gate.clear()
    control.changes.put_nowait(change(1, "a"))
    await settle(keys, ("a",))
    assert watch.connected
    assert not watch.ready.is_set()
    assert "alive" not in keys.told, "without prices nothing can be decided"
    control.prices_gate.set()
    await asyncio.wait_for(watch.ready.wait(), 60)
    assert keys.told[-1] == "alive"


async def test_each_word_on_where_others_count_is_passed_on_and_its_absence(parts: Parts) -> None:
    control, keys, _, _ = parts
    control.changes.put_nowait(change(1))
    control.changes.put_nowait(replace(change(2), counts_apart=True))
    control.changes.put_nowait(Unavailable("gone"))
    control.changes.put_nowait(change(3, "a"))
    await settle(keys, ("a",))
    assert keys.apart == [False, True, None, False]


async def test_slow_prices_do_not_hold_up_a_revocation(parts: Parts) -> None:
    control, keys, watch, _ = parts
    control.prices_gate.clear()
    control.changes.put_nowait(change(1))
    control.changes.put_nowait(change(2, "a"))
    await settle(keys, ("a",))
    assert not watch.ready.is_set()
    control.prices_gate.set()
    await asyncio.wait_for(watch.ready.wait(), 60)
    assert control.fetched == 1, "one fetch at a time"


async def test_prices_that_fail_are_fetched_again(parts: Parts) -> None:
    control, _, watch, _ = parts
    control.prices_fail = 1
    async with asyncio.timeout(60):
        for revision in itertools.count(1):
            control.changes.put_nowait(change(revision))
            await asyncio.sleep(0)
            if watch.ready.is_set():
                break
    assert control.fetched == 2


async def test_prices_that_change_are_fetched_and_again_if_that_fails(parts: Parts) -> None:
    control, _, watch, _ = parts
    control.prices_now = ("p1", priced(1))
    control.changes.put_nowait(change(1))
    await asyncio.wait_for(watch.ready.wait(), 60)
    control.prices_now, control.prices_fail = ("p2", priced(2)), 2
    async with asyncio.timeout(60):
        for revision in itertools.count(2):
            control.changes.put_nowait(change(revision, prices="p2"))
            await asyncio.sleep(0)
            if amount(watch.prices.price("m", "p")) == 2:
                break
    assert control.fetched == 1 + 2 + 1
    assert amount(watch.prices.price_at("m", "p", NOW - 1)) == 1
    assert amount(watch.prices.price_at("m", "p", NOW)) == 2


def test_prices_are_remembered_from_the_first_ones_on() -> None:
    prices = CurrentPrices()
    for when in range(1, 20):
        prices.swap(PriceTable(priced(when)), when)
    found = {when: amount(prices.price_at("m", "p", when)) for when in range(21)}
    assert found[0] == found[11] == 11, "the eight before the last, and no table without prices"
    assert [found[when] for when in range(12, 21)] == [12, 13, 14, 15, 16, 17, 18, 19, 19]
    early = CurrentPrices()
    early.swap(PriceTable(priced(1)), 5)
    assert amount(early.price_at("m", "p", 4)) == 1


async def test_after_a_restart_reports_are_priced_by_what_was_received_last(
    tmp_path: Path,
) -> None:
    file = PriceFile(tmp_path / "prices.json")
    first = Watch(Control(), Keys(), "test", clock=lambda: NOW, kept=file)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="prices have not been received yet: report it again"):
        first.prices.price_at("m", "p", NOW)
    file.save(priced(1))
    again = Watch(Control(), Keys(), "test", clock=lambda: NOW, kept=file)  # type: ignore[arg-type]
    assert amount(again.prices.price_at("m", "p", NOW)) == 1
    assert not again.ready.is_set(), "Checks wait for what is true now"
    again.prices.swap(PriceTable(priced(2)), NOW + 5)
    assert [amount(again.prices.price_at("m", "p", NOW + n)) for n in (4, 5)] == [1, 2]


async def test_what_is_received_is_kept(tmp_path: Path) -> None:
    control, keys = Control(), Keys()
    control.prices_now = ("p1", priced(3))
    file = PriceFile(tmp_path / "prices.json")
    watch = Watch(control, keys, "test", clock=lambda: NOW, kept=file)  # type: ignore[arg-type]
    task = asyncio.create_task(watch.run())
    control.changes.put_nowait(change(1))
    await asyncio.wait_for(watch.ready.wait(), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert file.load() == priced(3)


def test_a_file_of_prices_that_cannot_be_read_or_written_costs_a_word(tmp_path: Path) -> None:
    file = PriceFile(tmp_path / "prices.json")
    assert file.load() is None
    (tmp_path / "prices.json").write_bytes(b"{")
    missing = PriceFile(tmp_path / "nowhere" / "prices.json")
    with capture_logs() as logs:
        assert file.load() is None
        missing.save(priced(1))
    assert [each["log_level"] for each in logs] == ["warning", "warning"]


async def test_after_a_loss_it_goes_on_from_the_last_revision(parts: Parts) -> None:
    control, keys, watch, _ = parts
    control.changes.put_nowait(change(7, "a"))
    await settle(keys, ("a",))
    control.changes.put_nowait(Unavailable("gone"))
    await settle(keys, "lost")
    assert not watch.connected
    control.changes.put_nowait(change(9, reset=True))
    await settle(keys, "reset")
    assert control.after == [0, 7]


async def test_a_control_plane_that_wants_another_pepper_ends_it(parts: Parts) -> None:
    control, _, _, task = parts
    control.changes.put_nowait(StartRefused("PDP_KEY_PEPPER: another one"))
    with pytest.raises(StartRefused, match="another one"):
        await asyncio.wait_for(asyncio.shield(task), 60)


async def test_of_many_changes_the_cache_is_told_some_at_a_time(parts: Parts) -> None:
    control, keys, _, _ = parts
    ids = tuple(f"key{number}" for number in range(1200))
    control.changes.put_nowait(change(1, *ids))
    control.changes.put_nowait(change(2, "last"))
    await settle(keys, ("last",))
    told = [each for each in keys.told if isinstance(each, tuple)]
    assert [len(each) for each in told] == [500, 500, 200, 1]
    assert sum(told[:3], ()) == ids
