"""Strangers with made-up keys: what they cost, from the data plane's cache down to SQL."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable

import pytest
import sqlalchemy as sa

from pdp.control.access import Origin, authenticate
from pdp.control.resolve import resolve
from pdp.data.keycache import KeyCache
from pdp.errors import Unauthorized
from pdp.key import CompiledKey
from pdp.model import Resolved
from pdp.secret import hash_secret, make_secret
from pdp.store.database import Database
from tests.unit.control.desk import PEPPER, SECOND, Desk

MANY = 20_000
REMEMBERED = 50


class Line:
    """The control plane's answers, without the wire in between."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        return await resolve(self._database, secret_hash, "")

    async def by_id(self, key_id: str) -> tuple[int, Resolved | None]:
        return await resolve(self._database, None, key_id)


def cache_of(desk: Desk) -> KeyCache:
    made = KeyCache(
        Line(desk.database),
        partial(hash_secret, pepper=PEPPER),
        clock=lambda: desk.now,
        size=10,
        unknown_size=REMEMBERED,
        max_staleness=600 * SECOND,
    )
    made.alive()
    return made


async def look_up(cache: KeyCache, raw: str) -> CompiledKey | None:
    found = cache.lookup(raw)
    return await found if isawaitable(found) else found


@contextmanager
def statements(desk: Desk) -> Iterator[list[str]]:
    """Give the list of SQL statements that are executed meanwhile."""
    heard: list[str] = []
    engine = desk.database._backend.engine.sync_engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        heard.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield heard
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def well_formed(number: int) -> str:
    return make_secret("prod", number.to_bytes(24))


def junk(number: int) -> str:
    """Return what nearly is a key: each another one, all with a wrong checksum or form."""
    match number % 3:
        case 0:
            return f"vsk_prod_{number:033d}chksum"
        case 1:
            return f"vsk_prod_{number:06d}"
    return f"sk-{number:048d}"


async def test_twenty_thousand_junk_keys_cost_no_query_and_no_memory(desk: Desk) -> None:
    known = await desk.create()
    cache = cache_of(desk)
    with statements(desk) as heard:
        before = sys.getallocatedblocks()
        for number in range(MANY):
            assert cache.lookup(junk(number)) is None
        grown = sys.getallocatedblocks() - before
    assert heard == []
    assert grown < MANY // 20  # Remembering one takes a block or more.
    # The same eyes see a query where there is one.
    with statements(desk) as heard:
        assert await look_up(cache, known["api_key"]) is not None
    assert heard


async def test_the_admin_api_asks_for_no_junk_either(desk: Desk) -> None:
    with statements(desk) as heard:
        for number in range(100):
            with pytest.raises(Unauthorized) as caught:
                await authenticate(desk.database, PEPPER, junk(number), Origin(), desk.now)
            assert caught.value.reason == "invalid_api_key"
    assert heard == []


async def test_unknown_keys_of_the_right_form_are_remembered_within_a_bound(desk: Desk) -> None:
    cache = cache_of(desk)
    for number in range(4 * REMEMBERED):
        assert await look_up(cache, well_formed(number)) is None
    assert len(cache._unknown) == REMEMBERED
    assert len(cache) == len(cache._fills) == len(cache._below) == 0
    with statements(desk) as heard:
        for number in range(3 * REMEMBERED, 4 * REMEMBERED):
            assert cache.lookup(well_formed(number)) is None
        assert heard == []
        assert await look_up(cache, well_formed(0)) is None
        assert heard
