"""Counters in memory are of one data plane: a control plane lets no other beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.storm import PEPPER, plane_beside
from tests.planes import Planes, data_plane_of, planes_apart
from tests.redis import RedisServer
from tests.stack import Stack, check, eventually

REFUSED = "PDP_REDIS_URL: not set"


@pytest.fixture(scope="module")
def planes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    with planes_apart(tmp_path_factory.mktemp("planes")) as apart:
        yield apart


def beside(planes: Planes, folder: Path) -> Stack:
    """Return another data plane, over TCP, with a spool of its own."""
    port = int(planes.control.environment["PDP_CONTROL_LISTEN"].rpartition(":")[2])
    return data_plane_of(
        folder / "other", port, planes.authority.issue("other"), planes.authority.ca
    )


def is_refused(stack: Stack) -> bool:
    """Tell whether a data plane has ended with the one line, having never been ready."""
    assert stack.process is not None
    assert stack.get("/readyz")[0] != 200
    if stack.process.poll() is None:
        return False
    assert stack.process.returncode == 1
    assert stack.log().count(REFUSED) == 1, stack.log()
    assert "Traceback" not in stack.log()
    return True


async def test_a_second_one_is_refused_until_the_first_is_gone(
    planes: Planes, tmp_path: Path
) -> None:
    key, other = planes.control.create_key(), beside(planes, tmp_path)
    try:
        other.launch()
        eventually(lambda: is_refused(other), "the second refuses to start")
        async with planes.data.channel() as channel:
            assert (await check(channel, key["api_key"])).reason == "ok", "the first goes on"
        assert "data plane refused" in planes.control.log()

        planes.data.kill("data")  # Its supervisor starts it again, with the same spool.
        planes.data.wait_ready()
        assert planes.data.stop() == 0
        other.log_path.unlink()
        other.start()
        planes.data.launch()
        eventually(lambda: is_refused(planes.data), "now the first is the second")
    finally:
        other.stop()
    planes.data.log_path.unlink()
    planes.data.start()


def test_one_in_memory_and_one_in_redis_are_refused_whoever_comes_first(
    redis: RedisServer, tmp_path: Path
) -> None:
    redis.flush()
    shared = {"PDP_KEY_PEPPER": PEPPER, "PDP_REDIS_DEADLINE": "0.5"}
    first = Stack(tmp_path, **shared)
    first.init()
    other = plane_beside(first, tmp_path / "other", **shared, PDP_REDIS_URL=redis.url)
    try:
        first.start()
        other.launch()
        eventually(lambda: is_refused(other), "in Redis beside one in memory")
        first.stop()
        first.environment["PDP_REDIS_URL"] = redis.url
        first.start()
        del other.environment["PDP_REDIS_URL"]
        other.log_path.unlink()
        other.launch()
        eventually(lambda: is_refused(other), "in memory beside one in Redis")
        other.environment["PDP_REDIS_URL"] = redis.url
        other.start()
    finally:
        other.stop()
        first.stop()
