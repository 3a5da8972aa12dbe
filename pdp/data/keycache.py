"""Compiled keys in memory: filled from the control plane, emptied by its changes.

Rules, on which revocation rests:
- An entry is used only while the watch has been alive within `max_staleness`.
- A change makes every entry stale whose chains hold the changed key: at once, for it may
  be thousands. What is stale is not used; to forget and to free it takes longer, and is
  done a few at a time.
- A fill that was in flight when a change to its chains came in is thrown away and
  done again, so that an old answer cannot resurrect what the change dropped.
- "Certainly unknown" is only said while the watch is alive; else it is a 503.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from pdp.compile import Compiler
from pdp.data.quiet import Quiet
from pdp.errors import UNDECIDED, InvalidDocument, Unavailable
from pdp.key import CompiledKey
from pdp.model import Resolved
from pdp.ports import Clock
from pdp.secret import LONGEST, is_well_formed

_log = structlog.get_logger(__name__)

_SECOND = 1_000_000_000

_FILL_ATTEMPTS = 5
"""Each lost attempt means that this key changed within one look-up; five in a row is a storm."""

_FORGOTTEN_AT_ONCE = 10
_FREED_AT_ONCE = 20
_PAUSE = 0.001
"""Seconds from one lot to the next. Checks come between, and have most of the processor."""
_FILLS_AT_ONCE = 64
_MOST_FILLS = 2048
"""Look-ups in flight and waiting. The form of a key is public: anybody can make up many."""


class Resolver(Protocol):
    """Asks the control plane. Both return (revision, answer) and raise `Unavailable`."""

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        """Return the key of a secret, None if there is none."""
        ...

    async def by_id(self, key_id: str) -> tuple[int, Resolved | None]:
        """Return a key by its id, None if there is none."""
        ...


class CacheStats:
    """Plain counts for `pdp_cache_access_total`."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self.negative_hits = 0


class _Fill:
    """One look-up in flight, and what changed since it began (None: everything)."""

    def __init__(self) -> None:
        self.changed: set[bytes | str] | None = set()

    def is_stale(self, name: bytes | str, resolved: Resolved | None) -> bool:
        """Tell whether the answer may be older than a change that has been heard of."""
        if self.changed is None or name in self.changed:
            return True
        return resolved is not None and any(each.id in self.changed for each in resolved.records)


class KeyCache:
    """The `KeySource` of the data plane.

    `hash_of` turns a raw key into the hash under which it is stored. `size`
    bounds the known keys, `unknown_size` the remembered unknown ones. Times in
    ns of `clock`, which nobody sets (a monotonic one); `heartbeat_timeout` is after
    how much silence the watch counts as dead.
    """

    def __init__(
        self,
        resolver: Resolver,
        hash_of: Callable[[str], bytes],
        *,
        clock: Clock,
        size: int,
        unknown_size: int,
        max_staleness: int,
        heartbeat_timeout: int = 3 * _SECOND,
    ) -> None:
        self._resolver = resolver
        self._hash_of = hash_of
        self._clock = clock
        self._size = size
        self._unknown_size = unknown_size
        self._max_staleness = max_staleness
        self._heartbeat_timeout = heartbeat_timeout
        self._compiler = Compiler()
        self._entries: OrderedDict[bytes | str, CompiledKey] = OrderedDict()
        self._unknown: OrderedDict[bytes | str, None] = OrderedDict()
        self._stale: set[bytes | str] = set()
        self._below: dict[str, set[bytes | str]] = {}
        self._fills: dict[bytes | str, asyncio.Task[CompiledKey | None]] = {}
        self._in_flight: set[_Fill] = set()
        self._room = asyncio.Semaphore(_FILLS_AT_ONCE)
        self._dropped: list[object] = []
        self._tidying = False
        self._verified_at = clock()
        self._good_until = self._verified_at
        self._alive = False
        self._quiet = Quiet()
        self.stats = CacheStats()

    def __len__(self) -> int:
        return len(self._entries) - len(self._stale)

    # -- KeySource

    def lookup(self, api_key: str) -> CompiledKey | None | Awaitable[CompiledKey | None]:
        """Return the key of a raw secret; at once if it is cached or cannot exist."""
        if len(api_key) > LONGEST:
            return None
        secret_hash = self._hash_of(api_key)
        entry = self._entries.get(secret_hash)
        if entry is not None and secret_hash not in self._stale:
            return self._known(secret_hash, entry)
        # What is known was well-formed when it was made: only strangers are looked at.
        return self._unseen(secret_hash) if is_well_formed(api_key) else None

    def by_id(self, key_id: str) -> CompiledKey | None | Awaitable[CompiledKey | None]:
        """Return a key by its id, for usages that name no reservation."""
        entry = self._entries.get(key_id)
        if entry is not None and key_id not in self._stale:
            return self._known(key_id, entry)
        return self._unseen(key_id)

    def _known(self, name: bytes | str, entry: CompiledKey) -> CompiledKey:
        if self._clock() > self._good_until:
            raise Unavailable("the control plane has been out of reach for too long: try again")
        self.stats.hits += 1
        self._entries.move_to_end(name)
        return entry

    def _unseen(self, name: bytes | str) -> Awaitable[CompiledKey | None] | None:
        if not self._alive or self._clock() - self._verified_at > self._heartbeat_timeout:
            raise Unavailable("the control plane is out of reach and the key not cached: try again")
        if name in self._unknown:
            self.stats.negative_hits += 1
            self._unknown.move_to_end(name)
            return None
        self.stats.misses += 1
        fill = self._fills.get(name)
        if fill is None:
            if len(self._fills) >= _MOST_FILLS:
                raise Unavailable("too many unknown keys at once: try again")
            fill = self._fills[name] = asyncio.ensure_future(self._fill(name))
            fill.add_done_callback(lambda done: self._filled(name, done))
        # One caller's cancellation must not take the answer from the others.
        return asyncio.shield(fill)

    def _filled(self, name: bytes | str, done: "asyncio.Task[CompiledKey | None]") -> None:
        self._fills.pop(name, None)
        if not done.cancelled():
            done.exception()  # Everybody who asked may be gone; then nobody else looks at it.

    async def _fill(self, name: bytes | str) -> CompiledKey | None:
        async with self._room:
            for _ in range(_FILL_ATTEMPTS):
                fill = _Fill()
                self._in_flight.add(fill)
                try:
                    if isinstance(name, bytes):
                        _, resolved = await self._resolver.by_hash(name)
                    else:
                        _, resolved = await self._resolver.by_id(name)
                finally:
                    self._in_flight.discard(fill)
                if not fill.is_stale(name, resolved):
                    return self._store(name, resolved)
        raise Unavailable("the key changes faster than it can be read: try again")

    def _store(self, name: bytes | str, resolved: Resolved | None) -> CompiledKey | None:
        if resolved is None:
            self._unknown[name] = None
            if len(self._unknown) > self._unknown_size:
                self._unknown.popitem(last=False)
            return None
        try:
            entry = self._compiler.compile(resolved)
        except InvalidDocument as error:
            if self._quiet.over():
                _log.error("a key cannot be read here", key=resolved.key_id, reason=str(error))
            raise Unavailable(UNDECIDED) from error
        self._forget(name)
        self._entries[name] = entry
        for key_id in entry.scope_of:
            self._below.setdefault(key_id, set()).add(name)
        if len(self._entries) > self._size:
            self._forget(next(iter(self._entries)))
        self._tidy_later()
        return entry

    def _forget(self, name: bytes | str) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self._stale.discard(name)
        self._dropped.append(entry)
        for key_id in entry.scope_of:
            names = self._below.get(key_id)
            if names is not None:
                names.discard(name)
                if not names:
                    del self._below[key_id]

    def _tidy_later(self) -> None:
        if (self._stale or self._dropped) and not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(_PAUSE, self._tidy)

    def _tidy(self) -> None:
        """Forget and free a few: that takes 5 and 20 us each, and Checks wait for it."""
        for _ in range(min(_FORGOTTEN_AT_ONCE, len(self._stale))):
            self._forget(next(iter(self._stale)))
        del self._dropped[-_FREED_AT_ONCE:]
        self._tidying = False
        self._tidy_later()

    # -- What the watch tells

    def alive(self) -> None:
        """Note that everything up to now has been heard."""
        self._alive = True
        self._verified_at = self._clock()
        self._good_until = self._verified_at + max(self._max_staleness, self._heartbeat_timeout)

    def lost(self) -> None:
        """Note that the watch is broken: cached keys go on for `max_staleness`."""
        self._alive = False
        self._good_until = self._verified_at + self._max_staleness

    def changed(self, key_ids: Iterable[str], secret_hashes: Iterable[bytes]) -> None:
        """Forget what the changes touch."""
        key_ids, secret_hashes = tuple(key_ids), tuple(secret_hashes)
        for fill in self._in_flight:
            if fill.changed is not None:
                fill.changed.update(key_ids, secret_hashes)
        for key_id in key_ids:
            self._unknown.pop(key_id, None)
            self._stale.update(self._below.get(key_id, ()))
        for secret_hash in secret_hashes:
            self._unknown.pop(secret_hash, None)
            if secret_hash in self._entries:
                self._stale.add(secret_hash)
        self._tidy_later()

    def reset(self) -> None:
        """Forget everything: what changed is not known."""
        for fill in self._in_flight:
            fill.changed = None
        self._dropped += self._entries.values()
        self._dropped += self._below.values()
        self._tidy_later()
        self._entries.clear()
        self._stale.clear()
        self._unknown.clear()
        self._below.clear()

    def age(self) -> int:
        """Return ns since the cache was last known to be true, or was made."""
        return self._clock() - self._verified_at
