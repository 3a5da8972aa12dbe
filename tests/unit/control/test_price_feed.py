"""Prices that change by themselves: when they do, and that data planes hear of it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from genai_prices import data
from genai_prices.types import StartDateConstraint

from pdp.control.attendance import Attendance
from pdp.control.change_feed import ChangeFeed
from pdp.control.price_feed import PriceFeed, next_change
from pdp.control.prices import make_prices
from pdp.data.control import ControlClient
from pdp.data.watch import Watch
from pdp.internal.v1 import control_pb2_grpc
from pdp.quota.price import PriceList, PriceTable
from pdp.serve.control_service import ControlService
from pdp.serve.transport import bind, make_server
from tests.unit.control.desk import Desk

EVENING = datetime(2026, 11, 23, 20, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
CHANGING = [
    model
    for provider in data.providers
    for model in provider.models
    if isinstance(model.prices, list)
]


class Clock:
    """A clock that stands until the test moves it."""

    def __init__(self, now: datetime = EVENING) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def prompt_price(feed: PriceFeed, model: str = "deepseek-chat") -> int:
    price = PriceTable(msgspec.json.decode(feed.current.json, type=PriceList)).price(
        model, "deepseek"
    )
    assert price is not None
    return price.rates.prompt


def starts() -> list[datetime]:
    """Return every date from which some price holds."""
    return sorted(
        {
            datetime(start.year, start.month, start.day, tzinfo=UTC)
            for model in CHANGING
            for price in model.prices  # type: ignore[union-attr]
            if isinstance(price.constraint, StartDateConstraint)
            for start in [price.constraint.start_date]
        }
    )


@pytest.mark.parametrize("start", [EVENING, *(start - 2 * HOUR for start in starts())])
def test_no_price_changes_between_two_boundaries(start: datetime) -> None:
    now = start
    while now < start + timedelta(hours=26):
        then = next_change(now)
        assert now < then <= now + HOUR
        for model in CHANGING:
            assert model.get_prices(now) == model.get_prices(then - MOMENT), (model.id, now)
        now = then


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (
            datetime(2026, 11, 23, 16, 29, 59, tzinfo=UTC),
            datetime(2026, 11, 23, 16, 30, tzinfo=UTC),
        ),
        (datetime(2026, 11, 24, 0, 0, tzinfo=UTC), datetime(2026, 11, 24, 0, 30, tzinfo=UTC)),
        (datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
        (
            datetime(2026, 11, 24, 1, 20, tzinfo=timezone(timedelta(hours=1))),
            datetime(2026, 11, 24, 0, 30, tzinfo=UTC),
        ),
        (EVENING, EVENING + HOUR),
    ],
)
def test_boundaries_are_those_of_the_list_and_an_hour_at_most(
    now: datetime, then: datetime
) -> None:
    assert next_change(now) == then


async def test_a_list_made_in_the_evening_does_not_keep_its_price_by_day() -> None:
    clock = Clock()
    feed = PriceFeed((), clock)
    by_night, revision = prompt_price(feed), feed.current.revision
    clock.now = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
    await feed.refresh()
    assert prompt_price(feed) == 2 * by_night
    assert feed.current.revision != revision
    clock.now = EVENING  # A clock that was wrong, and is set.
    await feed.refresh()
    assert prompt_price(feed) == by_night


async def test_a_list_is_made_again_only_when_it_is_time_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[datetime] = []

    def counted(overrides: Any, now: datetime) -> Any:
        made.append(now)
        return make_prices(overrides, now)

    monkeypatch.setattr("pdp.control.price_feed.make_prices", counted)
    clock = Clock()
    feed = PriceFeed((), clock)
    for clock.now in (EVENING, EVENING + HOUR - MOMENT, EVENING + HOUR, EVENING + HOUR + MOMENT):
        await feed.refresh()
    assert made == [EVENING, EVENING + HOUR]


async def test_a_data_plane_gets_the_prices_that_have_changed(desk: Desk, tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 11, 24, 0, 29, 59, 999_000, tzinfo=UTC))
    prices, feed = PriceFeed((), clock), ChangeFeed(desk.database)
    server = make_server("grpcio")
    address = bind(server, f"unix:{tmp_path}/control.sock", "PDP_CONTROL_LISTEN")
    control_pb2_grpc.add_ControlServiceServicer_to_server(
        ControlService(desk.database, feed, prices, "pepper", Attendance()), server
    )
    await server.start()
    client = ControlClient(address, "pepper")
    watch = Watch(client, Keys(), "test", clock=lambda: 1)  # type: ignore[arg-type]
    loops = [asyncio.create_task(loop) for loop in (feed.run(), prices.run(), watch.run())]
    try:
        async with asyncio.timeout(30):
            await watch.ready.wait()
            before = watch.prices.price("deepseek-chat", "deepseek")
            clock.now = datetime(2026, 11, 24, 0, 30, tzinfo=UTC)
            while watch.prices.price("deepseek-chat", "deepseek") == before:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
        await client.close()
        await server.stop(None)
    after = watch.prices.price("deepseek-chat", "deepseek")
    assert before is not None
    assert after is not None
    assert after.rates.prompt == 2 * before.rates.prompt
    assert watch.prices.price_at("deepseek-chat", "deepseek", 0) == before


class Keys:
    """Keys that nobody asks for."""

    def alive(self) -> None: ...

    def lost(self) -> None: ...

    def reset(self) -> None: ...

    def changed(self, key_ids: Any, secret_hashes: Any) -> None: ...
