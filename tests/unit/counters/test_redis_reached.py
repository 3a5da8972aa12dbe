"""Redis as operators set it up: over TLS, with users, and with Sentinels."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pdp.counters.redis.address import parse_address
from pdp.errors import StartRefused, Unavailable
from pdp.quota.hold import Admitted
from tests.contract.world import NOON, SECOND, USD
from tests.counting import Fleet, Plane
from tests.pki import Authority
from tests.ports import free_port
from tests.redis import RedisServer, running_redis, running_sentinel
from tests.stack import eventually_async

LIMITS = {"root": {"budget_limits": {"total": 3.0}}}
RIGHTS = "~pdp:* +@read +@write +@scripting +@connection +info +cluster"
"""As docs/redis.md says."""


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, int, Path]]:
    """A server that is reached over TLS alone, as a user with a password."""
    folder = tmp_path_factory.mktemp("pki")
    authority = Authority(folder)
    shown = authority.issue("redis", "localhost")
    port = free_port()
    files = ("--tls-cert-file", str(shown.cert), "--tls-key-file", str(shown.key))
    options = ("--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", *files)
    with running_redis(*options) as server:
        with server.client() as client:
            client.execute_command(f"ACL SETUSER pdp on >right {RIGHTS}")
            client.execute_command("ACL SETUSER reader on >right ~pdp:* +@read +@connection")
        yield server, port, authority.ca


@pytest.fixture
async def fleet(tls: tuple[RedisServer, int, Path]) -> AsyncIterator[Fleet]:
    fleet = Fleet(tls[0])
    fleet.server.flush()
    yield fleet
    for plane in fleet.planes:
        await plane.close()


def plane_at(fleet: Fleet, url: str) -> Plane:
    plane = Plane(url, books=fleet.books, now=lambda: fleet.now)
    fleet.planes.append(plane)
    return plane


async def test_it_counts_over_tls_as_a_user_with_the_rights_that_the_docs_name(
    fleet: Fleet, tls: tuple[RedisServer, int, Path]
) -> None:
    _, port, ca = tls
    plane = plane_at(fleet, f"rediss://pdp:right@localhost:{port}?ssl_ca_certs={ca}")
    await fleet.tender(plane).start(0, 0)
    w = fleet.world(plane, **LIMITS)
    hold = w.hold(2 * USD)
    assert isinstance(await w.reserve(hold), Admitted)
    assert not isinstance(await w.check(2 * USD), Admitted)
    assert await w.settle(hold, USD)
    assert await w.due(NOON) == []
    await fleet.tender(plane).tend()
    assert await w.money() == ((USD, 0),) * 3


@pytest.mark.parametrize(
    ("who", "ca", "why"),
    [
        ("pdp:wrong@", True, r"refuses the password of `pdp`$"),
        ("reader:right@", True, r"does not let `reader` do what is needed: .*info"),
        ("pdp:right@", False, r"does not answer: .*certificate verify failed"),
    ],
)
async def test_what_keeps_it_out_is_said(
    fleet: Fleet, tls: tuple[RedisServer, int, Path], who: str, ca: bool, why: str
) -> None:
    _, port, trusted = tls
    query = f"?ssl_ca_certs={trusted}" if ca else ""
    plane = plane_at(fleet, f"rediss://{who}localhost:{port}{query}")
    address = parse_address(f"rediss://{who}localhost:{port}{query}")
    with pytest.raises(StartRefused, match=f"^PDP_REDIS_URL: `rediss://localhost:{port}` {why}"):
        await fleet.tender(plane).start(0, 0)
    with pytest.raises(Unavailable):
        await fleet.world(plane, **LIMITS).check(USD)
    assert "right" not in repr(address)


async def test_a_replica_that_sentinel_has_chosen_goes_on() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(running_redis("--repl-diskless-sync-delay", "0"))
        replica = ("--replicaof", "127.0.0.1", str(first.port))
        second = stack.enter_context(running_redis(*replica))
        port = stack.enter_context(running_sentinel(first, "mymaster"))
        fleet = Fleet(second)
        plane = plane_at(fleet, f"redis+sentinel://127.0.0.1:{port}/mymaster")
        tender = fleet.tender(plane)
        await tender.start(0, 0)
        w = fleet.world(plane, **LIMITS)
        assert isinstance(await w.check(2 * USD), Admitted)
        with first.client() as client:
            assert client.wait(1, 30_000) == 1, "the replica has it"
        first.stop()

        async def goes_on() -> bool:
            plane.ticks += SECOND
            await tender.tend()
            try:
                return isinstance(await w.check(USD), Admitted)
            except Unavailable:
                return False

        await eventually_async(goes_on, "the replica has taken over", 60)
        assert not isinstance(await w.check(1), Admitted), "what was held is held"
        await plane.close()
