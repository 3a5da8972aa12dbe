"""The price book: set, changed, ended, never rewritten; on each store."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pdp.control.access import Actor
from pdp.control.attendance import Attendance
from pdp.control.audit import audit_log
from pdp.control.change_feed import ChangeFeed
from pdp.control.idempotency import Once
from pdp.control.price_book import PriceBook, PriceFilter
from pdp.control.price_entry import in_force
from pdp.control.price_feed import PriceFeed
from pdp.control.price_lookup import look_up
from pdp.control.price_overrides import Override, parse_overrides
from pdp.control.sight import sight_of
from pdp.data.control import ControlClient
from pdp.data.watch import Watch
from pdp.errors import Conflict, Forbidden, InvalidDocument, NotFound, PreconditionFailed
from pdp.internal.v1 import control_pb2_grpc
from pdp.problems import Problems
from pdp.quota.price import PriceList, PriceTable
from pdp.serve.control_service import ControlService
from pdp.serve.transport import bind, make_server
from pdp.wording import instant
from tests.unit.control.desk import NOON, SECOND, Desk
from tests.unit.control.test_price_feed import Keys

HOUR = 3600 * SECOND
GPT = {"provider": "openai", "model": "gpt-4o"}
USD = 1_000_000_000


@pytest.fixture
def book(desk: Desk) -> PriceBook:
    return PriceBook(desk.database)


def price(prompt: object = "1", **fields: Any) -> dict[str, Any]:
    return {**GPT, "prompt": prompt, "completion": "2", **fields}


async def added(book: PriceBook, desk: Desk, at: int = NOON, **fields: Any) -> dict[str, Any]:
    return await book.add(desk.actor, price(**fields), at)


async def rate(book: PriceBook, at: int, model: str = "gpt-4o") -> int | None:
    """Return nano-USD per million prompt tokens of the override in force."""
    for override in in_force(await book.living(at), at):
        if override.match.matches(model):
            return override.price.rates.prompt
    return None


async def test_a_price_is_stored_as_written_and_shown(book: PriceBook, desk: Desk) -> None:
    made = await added(book, desk, prompt=2.5, cached="0.250", tiers=[{"above": 9, **TIER}])
    assert made["id"].startswith("price_")
    assert (made["prompt"], made["completion"], made["cached"]) == ("2.5", "2", "0.25")
    assert made["tiers"][0]["prompt"] == "3"
    assert (made["status"], made["currency"], made["reasoning"]) == ("current", "USD", None)
    assert (made["effective_from"], made["effective_until"]) == (instant(NOON), None)
    assert await book.get(desk.actor, made["id"], NOON) == made


TIER = {"prompt": 3, "completion": 4}


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"prompt": -1}, "prompt"),
        ({"prompt": "1e3"}, "prompt"),
        ({"prompt": "0.0000000001"}, "prompt"),
        ({"prompt": 1_000_001}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "NaN"}, "prompt"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": None}, "currency"),
        ({"provider": ""}, "provider"),
        ({"provider": "open*"}, "provider"),
        ({"model": "gpt 4"}, "model"),
        ({"tiers": [{"above": 5, "prompt": 1}]}, "tiers[0].completion"),
        ({"tiers": [{"above": 5, **TIER}, {"above": 5, **TIER}]}, "tiers[1].above"),
        ({"tiers": 5}, "tiers"),
        ({"effective_from": "tomorrow"}, "effective_from"),
        ({"effective_from": instant(NOON - SECOND)}, "effective_from"),
        ({"effective_until": instant(NOON - SECOND)}, "effective_until"),
        ({"effective_until": "2400-01-01T00:00:00Z"}, "effective_until"),
        (
            {"effective_from": instant(NOON + HOUR), "effective_until": instant(NOON + HOUR)},
            "effective_until",
        ),
        ({"cahced": 1}, "cahced"),
    ],
)
async def test_a_fault_is_located(
    book: PriceBook, desk: Desk, fields: dict[str, Any], location: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        await book.add(desk.actor, price(**fields), NOON)
    assert location in [problem.location for problem in caught.value.problems]
    assert (await book.page(desk.actor, PriceFilter(NOON)))["prices"] == []


async def test_what_is_to_come_comes_and_what_ends_gives_way(book: PriceBook, desk: Desk) -> None:
    await added(book, desk)
    later: dict[str, Any] = {
        "effective_from": instant(NOON + HOUR),
        "effective_until": instant(NOON + 2 * HOUR),
    }
    sale = await added(book, desk, prompt="0.5", **later)
    assert sale["status"] == "scheduled"
    found = [await rate(book, NOON + part * HOUR // 2) for part in range(5)]
    assert found == [USD, USD, USD // 2, USD // 2, USD]
    statuses = [(await book.get(desk.actor, sale["id"], NOON + n * HOUR))["status"] for n in (1, 2)]
    assert statuses == ["current", "ended"]


async def test_names_go_before_patterns_and_the_last_to_begin_before_others(
    book: PriceBook, desk: Desk
) -> None:
    for at, model, usd in ((0, "*", 1), (1, "gpt-4o", 2), (2, "gpt-*", 3), (3, "GPT-4O", 4)):
        await added(book, desk, NOON + at, model=model, prompt=usd)
    models = ("gpt-4o", "gpt-5", "llama")
    assert [await rate(book, NOON + 3, model) for model in models] == [4 * USD, 3 * USD, USD]
    assert await rate(book, NOON + 2) == 2 * USD


async def test_what_has_begun_is_not_rewritten(book: PriceBook, desk: Desk) -> None:
    made = await added(book, desk)
    with pytest.raises(Conflict, match="has begun"):
        await book.change(desk.actor, made["id"], price("3"), NOON + HOUR)
    end = {"effective_until": instant(NOON + 2 * HOUR)}
    changed = await book.change(desk.actor, made["id"], price(**end), NOON + HOUR)
    assert (changed["effective_until"], changed["prompt"]) == (end["effective_until"], "1")
    with pytest.raises(Conflict, match="ended"):
        await book.change(desk.actor, made["id"], price(), NOON + 3 * HOUR)


async def test_what_is_to_come_can_be_another(book: PriceBook, desk: Desk) -> None:
    made = await added(book, desk, effective_from=instant(NOON + HOUR))
    again = await book.change(desk.actor, made["id"], price("7", model="gpt-5"), NOON + SECOND)
    assert (again["prompt"], again["model"]) == ("7", "gpt-5")
    assert again["effective_from"] == instant(NOON + HOUR)
    with pytest.raises(InvalidDocument, match="effective_from"):
        await book.change(
            desk.actor, made["id"], price(effective_from=instant(NOON)), NOON + SECOND
        )
    with pytest.raises(PreconditionFailed):
        await book.change(desk.actor, made["id"], price(), NOON + SECOND, {made["version"]})
    same = await book.change(
        desk.actor, made["id"], price("7", model="gpt-5"), NOON, {again["version"]}
    )
    assert same == again


async def test_what_was_shown_can_be_sent_back(book: PriceBook, desk: Desk) -> None:
    tier = {"above": 9, "prompt": "3", "completion": "4"}
    starts = instant(NOON + HOUR)
    made = await added(book, desk, effective_from=starts, per_request="1", tiers=[tier])
    assert await book.change(desk.actor, made["id"], made, NOON + 2) == made
    dearer = await book.change(desk.actor, made["id"], {**made, "prompt": "9"}, NOON + 2)
    assert {**made, "prompt": "9", "version": dearer["version"]} == dearer
    with pytest.raises(InvalidDocument, match=r"status: cannot be changed: .*; version: cannot be"):
        await book.change(desk.actor, made["id"], {**made, "status": "ended"}, NOON + 3)
    begun = await book.get(desk.actor, made["id"], NOON + HOUR)
    ended = {**begun, "effective_until": instant(NOON + 2 * HOUR)}
    assert (await book.change(desk.actor, made["id"], ended, NOON + HOUR))["status"] == "current"


async def test_removing_ends_and_uncovers_and_keeps_the_entry(book: PriceBook, desk: Desk) -> None:
    await added(book, desk)
    over = await added(book, desk, NOON + 1, prompt="9")
    assert await rate(book, NOON + SECOND) == 9 * USD
    removed = await book.remove(desk.actor, over["id"], NOON + HOUR)
    assert (removed["status"], removed["prompt"]) == ("removed", "9")
    assert await rate(book, NOON + HOUR) == USD
    assert await book.remove(desk.actor, over["id"], NOON + 2 * HOUR) == removed
    to_come = await added(book, desk, NOON + HOUR, effective_from=instant(NOON + 5 * HOUR))
    await book.remove(desk.actor, to_come["id"], NOON + HOUR)
    assert await rate(book, NOON + 6 * HOUR) == USD
    with pytest.raises(NotFound):
        await book.remove(desk.actor, "price_none", NOON)


async def test_what_was_taken_back_leaves_room(
    book: PriceBook, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdp.control.price_book.MOST_LIVING", 1)
    later = await added(book, desk, effective_from=instant(NOON + HOUR))
    with pytest.raises(Conflict):
        await added(book, desk)
    await book.remove(desk.actor, later["id"], NOON)
    assert (await added(book, desk))["status"] == "current"


async def test_pages_are_filtered_and_followed(book: PriceBook, desk: Desk) -> None:
    for number in range(5):
        await added(book, desk, NOON + number, model=f"m-{number % 2}")
    await added(book, desk, NOON + 9, provider="other", effective_from=instant(NOON + HOUR))

    async def ids(**wanted: Any) -> list[str]:
        found: list[str] = []
        cursor = None
        while True:
            page = await book.page(desk.actor, PriceFilter(NOON + 9, **wanted), cursor)
            found += [each["id"] for each in page["prices"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    assert len(await ids(limit=2)) == len(set(await ids(limit=1))) == 6
    assert (len(await ids(model="m-0")), len(await ids(provider="other"))) == (3, 1)
    assert (len(await ids(status="scheduled")), len(await ids(status="current"))) == (1, 5)
    assert await ids(status="removed") == await ids(status="ended") == []
    with pytest.raises(InvalidDocument, match="cursor"):
        await book.page(desk.actor, PriceFilter(NOON), "x")


async def test_a_request_that_is_sent_again_sets_one_price(book: PriceBook, desk: Desk) -> None:
    once = Once("k", b"f" * 32)
    made = await book.add(desk.actor, price(), NOON, once)
    again = await book.add(desk.actor, price(), NOON + SECOND, once)
    assert again == {**made, "idempotent_replayed": True}
    with pytest.raises(Conflict):
        await book.add(desk.actor, price("2"), NOON, Once("k", b"g" * 32))


async def test_only_who_manages_billing_of_all_may(book: PriceBook, desk: Desk) -> None:
    org = desk.root.organization_id
    for actor in (
        Actor(desk.root.key_id, org, frozenset({"manage_keys"}), "organization"),
        Actor(desk.root.key_id, org, frozenset({"manage_billing"}), "team", "team_1"),
    ):
        with pytest.raises(Forbidden):
            await book.add(actor, price(), NOON)
        with pytest.raises(Forbidden):
            await book.page(actor, PriceFilter(NOON))
        with pytest.raises(Forbidden):
            await book.living_for(actor, NOON)


async def test_who_changed_what_is_in_the_log(book: PriceBook, desk: Desk) -> None:
    made = await added(book, desk, effective_from=instant(NOON + HOUR))
    await book.change(desk.actor, made["id"], price("3"), NOON)
    await book.remove(desk.actor, made["id"], NOON)
    found = await audit_log(desk.database, sight_of(desk.actor))
    logs = [each for each in found["logs"] if each["action"].startswith("prices.")]
    assert sorted(each["action"] for each in logs) == [
        *("prices.create", "prices.remove", "prices.update")
    ]
    by_action = {each["action"]: each["metadata"] for each in logs}
    assert by_action["prices.update"]["before"] == {"prompt": "1"}
    assert by_action["prices.update"]["after"] == {"prompt": "3"}
    assert by_action["prices.create"]["after"]["completion"] == "2"
    assert by_action["prices.remove"]["target_price_id"] == made["id"]


# -- Where a price comes from


FILE = parse_overrides(
    {"prices": [{"provider": "openai", "model": "gpt-4*", "prompt": 5, "completion": 5}]},
    Problems(),
)


async def test_the_book_goes_before_the_file_and_that_before_what_is_built_in(
    book: PriceBook, desk: Desk
) -> None:
    def source(file: tuple[Override, ...], entries: Any, model: str = "gpt-4o") -> tuple[Any, Any]:
        found = look_up(model, "", entries, file, NOON)
        return found["source"], found["price"] and found["price"]["prompt"]

    assert source((), []) == ("built_in", "2.5")
    assert source(FILE, []) == ("file", "5")
    made = await added(book, desk)
    entries = await book.living(NOON)
    assert source(FILE, entries) == ("override", "1")
    assert source(FILE, entries, "gpt-4-turbo") == ("file", "5")
    assert source(FILE, entries, "nobody-knows") == (None, None)
    assert look_up("openai/gpt-4o", "", entries, FILE, NOON)["price_id"] == made["id"]


async def test_when_a_price_changes_is_told(book: PriceBook, desk: Desk) -> None:
    later: dict[str, Any] = {
        "effective_from": instant(NOON + HOUR),
        "effective_until": instant(NOON + 2 * HOUR),
    }
    await added(book, desk, **later)
    entries = await book.living(NOON)

    def changes(at: int, model: str = "gpt-4o") -> str | None:
        found: str | None = look_up(model, "", entries, (), at)["changes_at"]
        return found

    assert changes(NOON) == instant(NOON + HOUR)
    assert changes(NOON + HOUR) == instant(NOON + 2 * HOUR)
    assert changes(NOON + 2 * HOUR) is None
    assert changes(NOON, "gpt-4o-mini") is None
    assert changes(NOON, "deepseek-chat") == "2026-11-23T16:30:00Z"


async def test_a_price_never_says_whose_a_known_model_is(book: PriceBook, desk: Desk) -> None:
    await added(book, desk, provider="mirror")
    await added(book, desk, provider="mirror", model="own-*")
    entries = await book.living(NOON)
    assert look_up("gpt-4o", "", entries, (), NOON)["provider"] == "openai"
    assert look_up("own-1", "", entries, (), NOON)["provider"] == "mirror"


# -- How data planes hear of it


class Moving:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = datetime.fromtimestamp(NOON // SECOND, UTC)

    def __call__(self) -> datetime:
        return self.now


async def test_data_planes_hear_of_a_price_and_of_one_that_begins(
    book: PriceBook, desk: Desk, tmp_path: Path
) -> None:
    clock, feed = Moving(), ChangeFeed(desk.database)
    await added(book, desk, prompt="4")
    prices = PriceFeed((), clock, book, feed)
    await prices.read()
    table = PriceTable(msgspec.json.decode(prices.current.json, type=PriceList))
    assert (known := table.price("gpt-4o", "openai")) is not None
    assert known.rates.prompt == 4 * USD
    server = make_server("grpcio")
    address = bind(server, f"unix:{tmp_path}/control.sock", "PDP_CONTROL_LISTEN")
    control_pb2_grpc.add_ControlServiceServicer_to_server(
        ControlService(desk.database, feed, prices, "pepper", Attendance()), server
    )
    await server.start()
    client = ControlClient(address, "pepper")
    watch = Watch(client, Keys(), "test", clock=lambda: 1)  # type: ignore[arg-type]
    loops = [asyncio.create_task(loop) for loop in (feed.run(), prices.run(), watch.run())]

    async def heard(usd: int) -> None:
        while True:
            found = watch.prices.price("gpt-4o", "openai")
            if found is not None and found.rates.prompt == usd * USD:
                return
            await asyncio.sleep(0.01)

    try:
        async with asyncio.timeout(30):
            await heard(4)
            second = await added(book, desk, NOON, prompt="6")
            await heard(6)
            await added(book, desk, prompt="8", effective_from=instant(NOON + HOUR))
            clock.now += timedelta(hours=1)
            await heard(8)
            assert second["status"] == "current"
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with suppress(asyncio.CancelledError):
                await loop
        await client.close()
        await server.stop(None)
