"""The line to Redis: one call, one answer, within a deadline. Library errors end here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from pdp.counters.redis import script
from pdp.counters.redis.address import Address
from pdp.counters.redis.away import Away
from pdp.counters.redis.layout import DRIFT, PLANES, ROOTS
from pdp.counters.redis.stats import LineStats
from pdp.counters.redis.trouble import told
from pdp.errors import StartRefused

_OLDEST: Final = (6, 2)
_CONNECT_DEADLINE: Final = 2.0
_PATIENCE: Final = 1.0
"""Seconds for a call that nobody waits for: a busy machine is no outage."""

_TROUBLE: Final = (RedisError, RedisClusterException, OSError, TimeoutError)

_BUSY: Final = "all connections to Redis are in use: raise PDP_REDIS_CONNECTIONS"

T = TypeVar("T")


class Line:
    """A client of one Redis. `deadline` in seconds is that of each call that somebody waits for."""

    def __init__(
        self, address: Address, *, deadline: float, most_connections: int, stats: LineStats
    ) -> None:
        self._address = address
        self._deadline = deadline
        self._stats = stats
        self._free = asyncio.Semaphore(most_connections)
        self._client: Any = _client(address, deadline, most_connections)

    async def run_script(self, prefix: str, argument: bytes, *, is_patient: bool = False) -> Any:
        """Run the script on a root; `is_patient`: nobody waits for it. Raises `Away`."""

        async def run() -> Any:
            try:
                return await self._client.evalsha(script.digest(), 1, prefix, argument)
            except NoScriptError:
                # It was restarted, or is another one now.
                return await self._client.eval(script.source(), 1, prefix, argument)

        return await self._timed(run, is_patient=is_patient)

    async def renew(self) -> None:
        """Connect anew with the next calls; a Cluster tells by itself who is to be written to."""
        if not isinstance(self._client, RedisCluster):
            await self._client.connection_pool.disconnect(inuse_connections=False)

    async def ping(self) -> None:
        """Ask whether anybody is there. Raises `Away`."""
        await self._timed(self._client.ping, "ping", is_patient=False)

    async def add_root(self, root: str) -> None:
        """Remember that there is a root."""
        await self._timed(lambda: self._client.sadd(ROOTS, root), "roots")

    async def roots(self) -> set[str]:
        """Return all roots that were ever counted."""
        found = await self._timed(lambda: self._client.smembers(ROOTS), "roots")
        return {each.decode() for each in found}

    async def count_planes(self, name: str, now: int, patience: int) -> int:
        """Say that a data plane lives (`now` in s); return how many did within `patience` s."""
        client, old = self._client, now - 86400
        await self._timed(lambda: client.zadd(PLANES, {name: now}), "planes")
        await self._timed(lambda: client.zremrangebyscore(PLANES, "-inf", old), "planes")
        found = await self._timed(lambda: client.zcount(PLANES, now - patience, "+inf"), "planes")
        return max(1, int(found))

    async def planes(self) -> dict[str, int]:
        """Return the second in which each data plane of the last day was last heard of."""
        found = await self._timed(
            lambda: self._client.zrange(PLANES, 0, -1, withscores=True), "planes"
        )
        return {name.decode(): int(second) for name, second in found}

    async def take_leave(self, name: str) -> None:
        """Say that a data plane goes, and has nothing left to say."""
        await self._timed(lambda: self._client.zrem(PLANES, name), "planes")

    async def spools(self, prefix: str) -> dict[str, int]:
        """Return, by spool, the record before which all are surely counted in a root."""
        found = await self._timed(lambda: self._client.hgetall(f"{prefix}spools"), "spools")
        return {name.decode(): int(number) for name, number in found.items()}

    async def tell_drift(self, told: bytes) -> None:
        """Leave word of how counters and ledger compare."""
        await self._timed(lambda: self._client.set(DRIFT, told), "drift")

    async def drift(self) -> bytes | None:
        """Return the last word of it."""
        found: bytes | None = await self._timed(lambda: self._client.get(DRIFT), "drift")
        return found

    async def check(self) -> None:
        """See that this is a Redis to count on; raises `StartRefused` if not, else `Away`."""
        for info in await self._infos():
            version = str(info.get("redis_version", "0"))
            if tuple(map(int, version.split(".")[:2])) < _OLDEST:
                raise StartRefused(
                    f"PDP_REDIS_URL: `{self._address.shown}` is Redis {version}: use 6.2 or newer"
                )
            policy = info.get("maxmemory_policy")
            if policy != "noeviction":
                raise StartRefused(
                    f"PDP_REDIS_URL: `{self._address.shown}` has maxmemory-policy `{policy}` and "
                    "would forget what was spent: set it to noeviction"
                )

    async def _infos(self) -> list[Mapping[str, Any]]:
        """Return what each server that is written to says of itself."""
        try:
            async with asyncio.timeout(_CONNECT_DEADLINE):
                if isinstance(self._client, RedisCluster):
                    primaries = RedisCluster.PRIMARIES
                    found = await self._client.info("everything", target_nodes=primaries)
                    several = isinstance(next(iter(found.values()), None), dict)
                    return list(found.values()) if several else [found]
                return [await self._client.info()]
        except _TROUBLE as error:
            raise Away(told(error, self._address, f"`{self._address.shown}`")) from error

    async def _timed(
        self, call: Callable[[], Awaitable[T]], op: str = "script", *, is_patient: bool = True
    ) -> T:
        deadline = max(self._deadline, _PATIENCE) if is_patient else self._deadline
        start = time.perf_counter_ns()
        is_sent = False
        try:
            # The client has deadlines for each read and for connecting: this is for all of it.
            async with asyncio.timeout(deadline), self._free:
                is_sent = True
                answer = await call()
        except _TROUBLE as error:
            if not is_sent:
                self._stats.note(op, "refused")
                raise Away(_BUSY, is_busy=True) from error
            is_timeout = isinstance(error, TimeoutError) or "imeout" in type(error).__name__
            outcome = "timeout" if is_timeout else "error"
            self._stats.called(op, outcome, time.perf_counter_ns() - start)
            raise Away(told(error, self._address), is_refused=_is_refused(error)) from error
        self._stats.called(op, "ok", time.perf_counter_ns() - start)
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()
        if self._address.kind == "sentinel":
            for watcher in self._client.connection_pool.sentinel_manager.sentinels:
                await watcher.aclose()


def _is_refused(error: BaseException) -> bool:
    """Tell whether Redis has answered that it does not do this; busy, it does nothing at all."""
    return isinstance(error, ResponseError) and not str(error).startswith("BUSY")


def _client(address: Address, deadline: float, most_connections: int) -> Any:
    common: dict[str, Any] = {
        "socket_timeout": max(deadline, _PATIENCE),
        "socket_connect_timeout": deadline,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": most_connections,
    }
    if address.kind == "single":
        return Redis.from_url(address.url, **common)
    options = {**address.options}
    sentinel = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in options
    }
    common |= options | {"username": address.username, "password": address.password}
    if address.is_tls:
        common["ssl"] = True
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, **common)
    watchers = Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        sentinel_kwargs=sentinel | {"socket_timeout": deadline, "ssl": address.is_tls},
        **common,
    )
    return watchers.master_for(address.master, db=address.database)
