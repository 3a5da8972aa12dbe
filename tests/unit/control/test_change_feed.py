"""Every change has a number, and every watcher hears of each, in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

from pdp.control import change_feed
from pdp.control.change_feed import ChangeFeed
from pdp.control.initialize import initialize
from pdp.errors import InvalidDocument, Unavailable
from pdp.secret import hash_secret
from pdp.store import changes
from pdp.store.changes import Changes
from pdp.store.database import Database
from tests.unit.control.desk import NOON, PEPPER, Desk, held, settled

DEADLINE = 60.0


async def current(desk: Desk) -> int:
    async with desk.database.reading() as connection:
        return await changes.current(connection)


async def since(desk: Desk, after: int) -> Changes:
    async with desk.database.reading() as connection:
        return await changes.since(connection, after)


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[ChangeFeed]:
    """Give a feed that polls."""
    feed = ChangeFeed(desk.database)
    poller = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        poller.cancel()
        with suppress(asyncio.CancelledError):
            await poller


async def follow(feed: ChangeFeed, after: int, until: int) -> list[Changes]:
    """Return what a watcher hears until it has come to a revision, heartbeats left out."""
    heard = []
    async with asyncio.timeout(DEADLINE), aclosing(feed.watch(after)) as stream:  # type: ignore[type-var]
        async for found in stream:
            if found.key_ids or not found.complete:
                heard.append(found)
            if found.revision >= until:
                break
    return heard


# -- The counter


async def test_every_change_takes_the_next_number(desk: Desk) -> None:
    numbers = [await current(desk)]
    made = await desk.create()
    numbers.append(await current(desk))
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    numbers.append(await current(desk))
    await initialize(desk.database, PEPPER, NOON, "org2", "", "UTC")
    numbers.append(await current(desk))
    assert numbers == [1, 2, 3, 4]


async def test_what_changes_nothing_takes_no_number(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    before = await current(desk)
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    await initialize(desk.database, PEPPER, NOON, "org", "", "UTC")
    with pytest.raises(InvalidDocument):
        await desk.create(max_requests=-1)
    hold = held("d1")
    await desk.take(hold, settled(hold))
    assert await current(desk) == before


async def test_a_change_that_does_not_commit_gives_its_number_back(desk: Desk) -> None:
    async def fail() -> None:
        async with desk.database.writing() as connection:
            assert await changes.bump(connection) == 2
            await changes.note(connection, 2, ["key_x"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await current(desk) == 1
    await desk.create()
    assert await current(desk) == 2


async def test_writers_at_once_take_numbers_without_gap_or_double(desk: Desk) -> None:
    body = {"name": "x"}
    other = Database(desk.url)
    try:
        keys = type(desk.keys)(other, PEPPER)
        made = await asyncio.gather(
            *(each.create(desk.actor, body, NOON) for _ in range(10) for each in (desk.keys, keys))
        )
    finally:
        await other.close()
    found = await since(desk, 1)
    assert found.revision == 21
    assert sorted(found.key_ids) == sorted(each["id"] for each in made)
    async with desk.database.reading() as connection:
        numbers = await connection.exec_driver_sql("SELECT version FROM api_keys ORDER BY version")
        assert list(numbers.scalars()) == list(range(1, 22))


async def test_a_new_secret_is_told_by_its_hash_so_that_unknown_ones_are_asked_again(
    desk: Desk,
) -> None:
    made = await desk.create()
    found = await since(desk, 1)
    assert found.key_ids == (made["id"],)
    assert found.secret_hashes == (hash_secret(made["api_key"], PEPPER),)


async def test_one_revocation_tells_of_every_key_that_it_kills(desk: Desk) -> None:
    team = await desk.create(key_type="team", team_id="a")
    user = await desk.create(key_type="user", team_id="a")
    before = await current(desk)
    await desk.keys.revoke(desk.actor, team["id"], desk.now, cascade=True)
    found = await since(desk, before)
    assert set(found.key_ids) == {team["id"], user["id"]}
    assert found == Changes(before + 1, found.key_ids)


async def test_a_key_that_changed_twice_is_told_once(desk: Desk) -> None:
    made = await desk.create()
    await desk.keys.revoke(desk.actor, made["id"], desk.now, cascade=False)
    assert (await since(desk, 1)).key_ids == (made["id"],)


async def test_who_is_up_to_date_hears_nothing(desk: Desk) -> None:
    assert await since(desk, 1) == Changes(1)


@pytest.mark.parametrize("after", [2, 10**12])
async def test_who_knows_of_changes_that_never_were_starts_afresh(desk: Desk, after: int) -> None:
    assert await since(desk, after) == Changes(1, complete=False)


async def test_who_is_too_far_behind_starts_afresh(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "KEEP", 3)
    made = [(await desk.create())["id"] for _ in range(6)]
    assert await since(desk, 3) == Changes(7, complete=False)
    found = await since(desk, 4)
    assert found.complete
    assert found.key_ids == tuple(made[-3:])


# -- Watchers


async def test_watchers_hear_every_change_once_and_in_order(desk: Desk) -> None:
    async with running(desk) as feed:
        watchers = [asyncio.create_task(follow(feed, 1, 21)) for _ in range(3)]
        made = []
        for _ in range(20):
            made.append((await desk.create())["id"])
            await asyncio.sleep(0)
        for heard in await asyncio.gather(*watchers):
            assert [key_id for each in heard for key_id in each.key_ids] == made
            revisions = [each.revision for each in heard]
            assert revisions == sorted(set(revisions))
            assert revisions[-1] == 21


async def test_a_change_by_another_process_is_heard(desk: Desk) -> None:
    other = Database(desk.url)
    try:
        async with running(desk) as feed:
            watcher = asyncio.create_task(follow(feed, 1, 2))
            made = await type(desk.keys)(other, PEPPER).create(desk.actor, {"name": "x"}, NOON)
            assert [each.key_ids for each in await watcher] == [(made["id"],)]
    finally:
        await other.close()


async def test_what_changes_here_is_told_without_waiting_for_the_next_look(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "POLL_INTERVAL", 3600)
    monkeypatch.setattr(change_feed, "HEARTBEAT", 3600)
    async with running(desk) as feed:
        watcher = asyncio.create_task(follow(feed, 1, 4))
        made = [(await desk.create())["id"] for _ in range(3)]
        heard = await watcher
    assert [key_id for each in heard for key_id in each.key_ids] == made


async def test_a_watcher_that_begins_late_catches_up_at_once(desk: Desk) -> None:
    made = [(await desk.create())["id"] for _ in range(3)]
    feed = ChangeFeed(desk.database)  # Nobody polls: the first answer needs no poll.
    async with aclosing(feed.watch(2)) as stream:  # type: ignore[type-var]
        found = await anext(stream)
    assert found.revision == 4
    assert found.key_ids == tuple(made[1:])


async def test_a_watcher_that_knows_nothing_begins_now(desk: Desk) -> None:
    await desk.create()
    feed = ChangeFeed(desk.database)
    async with aclosing(feed.watch(0)) as stream:  # type: ignore[type-var]
        assert await anext(stream) == Changes(2)


async def test_a_watcher_from_a_future_that_is_gone_starts_afresh_and_goes_on(desk: Desk) -> None:
    async with running(desk) as feed:
        reset, first = await follow_two(feed)
        assert reset == Changes(1, complete=False)
        made = await desk.create()
        assert [each.key_ids for each in await follow(feed, first, 2)] == [(made["id"],)]


async def follow_two(feed: ChangeFeed) -> tuple[Changes, int]:
    """Watch from far ahead; return the first answer, and the revision of the heartbeat after."""
    async with asyncio.timeout(DEADLINE), aclosing(feed.watch(10**9)) as stream:  # type: ignore[type-var]
        return await anext(stream), (await anext(stream)).revision


async def test_a_quiet_line_beats(desk: Desk) -> None:
    async with (
        running(desk) as feed,
        asyncio.timeout(DEADLINE),
        aclosing(feed.watch(1)) as stream,  # type: ignore[type-var]
    ):
        assert [await anext(stream) for _ in range(2)] == [Changes(1)] * 2


async def test_the_feed_outlives_a_database_that_is_away(desk: Desk) -> None:
    async with running(desk) as feed:
        async with desk.database.writing() as connection:
            await connection.exec_driver_sql("ALTER TABLE revision RENAME TO away")
        with pytest.raises(Unavailable):
            await follow(feed, 1, 2)
        async with desk.database.writing() as connection:
            await connection.exec_driver_sql("ALTER TABLE away RENAME TO revision")
        watcher = asyncio.create_task(follow(feed, 1, 2))
        made = await desk.create()
        assert [each.key_ids for each in await watcher] == [(made["id"],)]


async def test_many_watchers_ask_the_database_no_more_than_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(change_feed, "HEARTBEAT", 0.1)
    watchers, beats, asked = 40, 5, 0
    real = changes.since

    async def counted(connection: Any, after: int) -> Changes:
        nonlocal asked
        asked += 1
        return await real(connection, after)

    monkeypatch.setattr(changes, "since", counted)
    made = asyncio.Event()

    async def watch(feed: ChangeFeed, quiet: list[int]) -> tuple[str, ...]:
        async with asyncio.timeout(DEADLINE), aclosing(feed.watch(1)) as stream:  # type: ignore[type-var]
            async for found in stream:
                if found.key_ids:
                    break
                quiet[0] += 1
                if quiet[0] >= watchers * beats:
                    made.set()
            return found.key_ids

    async with running(desk) as feed:
        quiet = [0]
        tasks = [asyncio.create_task(watch(feed, quiet)) for _ in range(watchers)]
        await made.wait()
        key = await desk.create()
        assert set(await asyncio.gather(*tasks)) == {(key["id"],)}
    assert asked < watchers  # Each by itself would have asked six times as often.


async def test_many_changes_in_a_row_are_told_together(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "POLL_INTERVAL", 3600)
    monkeypatch.setattr(change_feed, "_APART", apart := 0.5)
    loop = asyncio.get_running_loop()
    async with running(desk) as feed:
        watcher, began = asyncio.create_task(follow(feed, 1, 21)), loop.time()
        made = [(await desk.create())["id"] for _ in range(20)]
        heard = await watcher
    assert [key_id for each in heard for key_id in each.key_ids] == made
    assert len(heard) <= 2 + (loop.time() - began) / apart


async def test_a_watcher_that_leaves_takes_no_answer_from_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = asyncio.Event(), asyncio.Event()
    real = changes.since

    async def slow(connection: Any, after: int) -> Changes:
        began.set()
        await go.wait()
        return await real(connection, after)

    monkeypatch.setattr(changes, "since", slow)
    feed = ChangeFeed(desk.database)
    first, second = (asyncio.create_task(follow(feed, 1, 1)) for _ in range(2))
    await began.wait()
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == []
