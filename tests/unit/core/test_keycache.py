"""The key cache: what it may remember, and when it must not answer."""

import asyncio
import zlib
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from pdp.data.keycache import KeyCache
from pdp.errors import Unavailable
from pdp.key import CompiledKey
from pdp.model import KeyRecord, Resolved
from pdp.secret import make_secret
from tests.wire.harness import Clock, chain_of, record

SECOND = 1_000_000_000


class Directory:
    """A control plane in a dict; `gate` holds answers back until it is set."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.by_secret: dict[bytes, str] = {}
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.down = False

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        return await self._answer(self.by_secret.get(secret_hash))

    async def by_id(self, key_id: str) -> tuple[int, Resolved | None]:
        return await self._answer(key_id if key_id in self.records else None)

    async def _answer(self, key_id: str | None) -> tuple[int, Resolved | None]:
        self.asked += 1
        if self.down:
            raise Unavailable("down")
        answer = None if key_id is None else self._resolved(key_id)
        await self.gate.wait()
        return 1, answer

    def _resolved(self, key_id: str) -> Resolved:
        parents = chain_of(self.records, key_id, "parent_key_id")
        return Resolved(
            key_id=key_id,
            parents=parents,
            granters=parents,
            records=tuple(self.records[each] for each in parents),
            timezone="UTC",
            revision=1,
        )


def secret(number: int) -> str:
    return make_secret("prod", number.to_bytes(32, "big"))


def hash_of(raw: str) -> bytes:
    return zlib.crc32(raw.encode()).to_bytes(4, "big")


@pytest.fixture
async def directory() -> Directory:
    made = Directory()
    made.records = {
        "root": record("root"),
        "a": record("a", parent_key_id="root"),
        "b": record("b", parent_key_id="root"),
    }
    made.by_secret = {hash_of(secret(1)): "a", hash_of(secret(2)): "b"}
    return made


def cache_of(directory: Directory, clock: Clock, **bounds: int) -> KeyCache:
    made = KeyCache(
        directory,
        hash_of,
        clock=clock,
        **{"size": 100, "unknown_size": 10, "max_staleness": 600 * SECOND, **bounds},
    )
    made.alive()
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock(0)


@pytest.fixture
def cache(directory: Directory, clock: Clock) -> KeyCache:
    return cache_of(directory, clock)


async def get(cache: KeyCache, raw: str) -> CompiledKey | None:
    found = cache.lookup(raw)
    return found if found is None or isinstance(found, CompiledKey) else await found


async def test_a_key_is_asked_for_once(cache: KeyCache, directory: Directory) -> None:
    first = await get(cache, secret(1))
    assert first is not None
    assert cache.lookup(secret(1)) is first
    assert directory.asked == 1
    assert (cache.stats.misses, cache.stats.hits) == (1, 1)


async def test_many_who_ask_at_once_share_one_question(
    cache: KeyCache, directory: Directory
) -> None:
    found = await asyncio.gather(*(get(cache, secret(1)) for _ in range(20)))
    assert len(set(map(id, found))) == 1
    assert directory.asked == 1


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(
    cache: KeyCache, directory: Directory
) -> None:
    directory.gate.clear()
    first = asyncio.ensure_future(get(cache, secret(1)))
    second = asyncio.ensure_future(get(cache, secret(1)))
    await asyncio.sleep(0)
    first.cancel()
    directory.gate.set()
    assert (await second) is not None


async def test_junk_is_refused_without_a_question(cache: KeyCache, directory: Directory) -> None:
    for junk in ("", "vsk_prod_" + "a" * 36, "sk-abc", "\x00", "ключ", "v" * 100_000):
        assert cache.lookup(junk) is None
    assert directory.asked == 0


async def test_unknown_keys_are_remembered_within_bounds(
    cache: KeyCache, directory: Directory
) -> None:
    for number in range(100, 200):
        assert await get(cache, secret(number)) is None
    assert directory.asked == 100
    assert await get(cache, secret(199)) is None
    assert directory.asked == 100
    assert await get(cache, secret(100)) is None
    assert directory.asked == 101


async def test_a_new_secret_is_no_longer_unknown(cache: KeyCache, directory: Directory) -> None:
    assert await get(cache, secret(3)) is None
    directory.records["c"] = record("c", parent_key_id="root")
    directory.by_secret[hash_of(secret(3))] = "c"
    cache.changed(["c"], [hash_of(secret(3))])
    assert await get(cache, secret(3)) is not None


async def test_a_change_above_drops_everything_below(cache: KeyCache, directory: Directory) -> None:
    await get(cache, secret(1))
    await get(cache, secret(2))
    cache.changed(["a"], [])
    assert len(cache) == 1
    cache.changed(["root"], [])
    assert len(cache) == 0


async def test_a_fill_in_flight_cannot_resurrect_a_revoked_key(
    cache: KeyCache, directory: Directory
) -> None:
    directory.gate.clear()
    asking = asyncio.ensure_future(get(cache, secret(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert directory.asked == 1, "the old answer is on its way"
    directory.records["a"] = record("a", parent_key_id="root", status="revoked", version=2)
    cache.changed(["a"], [])
    directory.gate.set()
    found = await asking
    assert found is not None
    assert found.record.status == "revoked"


async def test_a_storm_of_changes_ends_in_unavailable(
    cache: KeyCache, directory: Directory
) -> None:
    original = directory.by_hash

    async def stormy(secret_hash: bytes) -> tuple[int, Resolved | None]:
        cache.changed(["root"], [])
        return await original(secret_hash)

    directory.by_hash = stormy  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="changes faster"):
        await get(cache, secret(1))


async def test_changes_elsewhere_do_not_hold_up_a_look_up(
    cache: KeyCache, directory: Directory
) -> None:
    directory.gate.clear()
    waiting = asyncio.ensure_future(get(cache, secret(1)))
    await asyncio.sleep(0)
    cache.changed(["b"], [hash_of(secret(2))])
    directory.gate.set()
    assert await waiting is not None
    assert directory.asked == 1


async def test_a_secret_that_is_made_during_its_look_up_is_found(
    cache: KeyCache, directory: Directory
) -> None:
    directory.gate.clear()
    waiting = asyncio.ensure_future(get(cache, secret(3)))
    await asyncio.sleep(0)
    directory.by_secret[hash_of(secret(3))] = "b"
    cache.changed([], [hash_of(secret(3))])
    directory.gate.set()
    assert await waiting is not None


async def test_cut_off_known_keys_go_on_and_unknown_ones_are_unavailable(
    cache: KeyCache, clock: Clock
) -> None:
    await get(cache, secret(1))
    assert await get(cache, secret(9)) is None
    cache.lost()
    for raw in (secret(2), secret(9)):
        with pytest.raises(Unavailable, match="out of reach"):
            cache.lookup(raw)
    clock.now = 600 * SECOND
    assert await get(cache, secret(1)) is not None
    clock.now += 1
    with pytest.raises(Unavailable, match="too long"):
        cache.lookup(secret(1))
    assert cache.lookup("junk") is None
    assert cache.age() == 600 * SECOND + 1


async def test_silence_counts_as_being_cut_off(cache: KeyCache, clock: Clock) -> None:
    clock.now = 4 * SECOND
    with pytest.raises(Unavailable, match="out of reach"):
        cache.lookup(secret(1))


async def test_without_any_staleness_keys_are_served_while_the_line_is_alive(
    directory: Directory, clock: Clock
) -> None:
    cache = cache_of(directory, clock, max_staleness=0)
    assert await get(cache, secret(1)) is not None
    clock.now = 3 * SECOND
    assert await get(cache, secret(1)) is not None
    cache.lost()
    with pytest.raises(Unavailable, match="too long"):
        cache.lookup(secret(1))


async def test_look_ups_of_made_up_keys_are_bounded(cache: KeyCache, directory: Directory) -> None:
    directory.gate.clear()
    waiting = [asyncio.ensure_future(get(cache, secret(number))) for number in range(100, 2148)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many unknown keys"):
        cache.lookup(secret(1))
    await asyncio.sleep(0)
    assert directory.asked == 64
    directory.gate.set()
    assert set(await asyncio.gather(*waiting)) == {None}
    assert await get(cache, secret(1)) is not None


async def test_a_failed_look_up_is_not_remembered(cache: KeyCache, directory: Directory) -> None:
    directory.down = True
    with pytest.raises(Unavailable):
        await get(cache, secret(1))
    directory.down = False
    assert await get(cache, secret(1)) is not None


async def test_the_least_used_key_makes_room(directory: Directory, clock: Clock) -> None:
    cache = cache_of(directory, clock, size=1, unknown_size=1)
    await get(cache, secret(1))
    await get(cache, secret(2))
    assert len(cache) == 1
    assert isinstance(cache.lookup(secret(2)), CompiledKey)
    cache.changed(["a", "root"], [])
    assert len(cache) == 0


async def test_a_reset_forgets_all(cache: KeyCache, directory: Directory) -> None:
    await get(cache, secret(1))
    assert await get(cache, secret(9)) is None
    cache.reset()
    assert len(cache) == 0
    await get(cache, secret(1))
    assert directory.asked == 3


async def test_a_key_that_cannot_be_read_here_is_unavailable_and_why_is_logged(
    cache: KeyCache, directory: Directory
) -> None:
    directory.records["a"] = record("a", parent_key_id="root", policy={"version": "2999"})
    with capture_logs() as log:
        for _ in range(3):
            with pytest.raises(Unavailable) as refused:
                await get(cache, secret(1))
    assert str(refused.value) == "it cannot be decided at the moment: try again"
    (entry,) = log
    assert entry["key"] == "a"
    assert "policy.version" in entry["reason"]


async def test_by_id_serves_reports(cache: KeyCache) -> None:
    found = cache.by_id("a")
    assert not isinstance(found, CompiledKey)
    assert found is not None
    key = await found
    assert cache.by_id("a") is key


@pytest.mark.parametrize("all_of_them", [lambda c: c.changed(["root"], []), KeyCache.reset])
async def test_many_keys_are_stale_at_once_and_freed_little_by_little(
    directory: Directory, clock: Clock, all_of_them: Callable[[KeyCache], None]
) -> None:
    """Forgetting and freeing take longer than to know, and Checks wait while it is done."""
    cache = cache_of(directory, clock)
    for number in range(10, 60):
        name = f"key{number}"
        directory.records[name] = record(name, parent_key_id="root")
        directory.by_secret[hash_of(secret(number))] = name
        await get(cache, secret(number))
    all_of_them(cache)
    assert len(cache) == 0
    assert not isinstance(cache.lookup(secret(10)), CompiledKey)
    turns = 0
    while cache._dropped or cache._stale:
        before = len(cache._entries)
        cache._tidy()
        assert before - len(cache._entries) <= 10
        assert len(cache._dropped) <= 120
        turns += 1
    assert turns >= 3
    assert cache._below.keys() <= {"root", "key10"}, "nothing is left of what was forgotten"


async def test_what_was_stale_is_used_again_once_it_is_looked_up_anew(
    cache: KeyCache, directory: Directory
) -> None:
    first = await get(cache, secret(1))
    cache.changed(["root"], [])
    second = await get(cache, secret(1))
    assert second is not first
    cache._tidy()
    assert cache.lookup(secret(1)) is second, "what is tidied up is the old one"
    cache.changed(["a"], [])
    assert cache.lookup(secret(1)) is not second


async def test_stale_keys_are_tidied_up_by_themselves(cache: KeyCache) -> None:
    await get(cache, secret(1))
    cache.changed(["root"], [])
    async with asyncio.timeout(60):
        while cache._dropped or cache._entries:  # noqa: ASYNC110  It knows nothing of events.
            await asyncio.sleep(0)
    assert not cache._below
