"""`pdp reconcile`, on counters in a real Redis."""

import asyncio
import json
from typing import Any

import pytest

from pdp.counters.redis.layout import DRIFT
from pdp.reconcile.comparison import Pace
from tests.counting import Plane
from tests.redis import RedisServer
from tests.unit.cli.conftest import Pdp


@pytest.fixture
def counted(
    pdp: Pdp,
    root: dict[str, str],
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The root of an organization whose counters are open; nothing rests."""
    redis.flush()
    monkeypatch.setattr("pdp.app.reconcile.PACE", Pace(rest=0, landed=0))
    pdp.setting("PDP_REDIS_URL", redis.local_url)

    open_root(redis, root["key_id"])
    capsys.readouterr()
    return root["key_id"]


def open_root(redis: RedisServer, root: str) -> None:
    async def join() -> None:
        plane = Plane(redis.local_url)
        await plane.roots.join(plane.roots.lane(root))
        await plane.close()

    asyncio.run(join())


def shift(redis: RedisServer, root: str, field: str, amount: int) -> None:
    with redis.client() as client:
        client.hincrby(f"pdp:{{{root}}}:t:{root}", field, amount)


def told(redis: RedisServer) -> Any:
    with redis.client() as client:
        return json.loads(client.get(DRIFT) or b"{}")


def test_without_redis_it_says_what_there_is_instead(pdp: Pdp, root: dict[str, str]) -> None:
    line = pdp("reconcile", "--check").refusal()
    assert line.startswith("pdp: PDP_REDIS_URL: not set")
    assert "`pdp spool status`" in line


def test_counters_that_are_right_are_said_to_be(pdp: Pdp, counted: str, redis: RedisServer) -> None:
    done = pdp("reconcile", "--check")
    assert (done.status, done.err) == (0, "")
    assert "the counters are what the ledger says" in done.out
    assert told(redis)["numbers"] == {"above": 0, "below": 0}


def test_a_check_shows_what_differs_and_changes_nothing(
    pdp: Pdp, counted: str, redis: RedisServer
) -> None:
    shift(redis, counted, "s", 1_500_000_001)
    shift(redis, counted, "th", -3)
    for _ in range(2):
        done = pdp("reconcile", "--check")
        assert done.status == 1
        lines = [line.split() for line in done.out.splitlines()]
        first = lines.index([counted, "0.000000000", "1.500000001", "1.500000001"])
        assert lines[first + 1 : first + 4] == [
            ["spent,", "budget_limits.total"],
            [counted, "0", "-3", "-3"],
            ["tokens_held,", "token_limits.total"],
        ]
    assert told(redis)["numbers"] == {"above": 1, "below": 1}
    done = pdp("reconcile", "--check", "--json")
    assert done.status == 1
    (found,) = json.loads(done.out)["organizations"]
    assert found["has_drift"] is True
    assert found["corrected"] == 0
    assert found["drifts"][0] == {
        "api_key_id": counted,
        "limit": "budget_limits.total",
        "period": "total",
        "start": None,
        "what": "spent",
        "unit": "nano_usd",
        "ledger": 0,
        "counter": 1_500_000_001,
        "difference": 1_500_000_001,
        "cause": None,
        "is_explained": False,
    }


def test_it_corrects_tells_and_writes_it_down(pdp: Pdp, counted: str, redis: RedisServer) -> None:
    shift(redis, counted, "s", 7)
    done = pdp("reconcile")
    assert done.status == 0
    assert "corrected: 1 sum" in done.out
    assert told(redis)["numbers"] == {"above": 0, "below": 0}
    (entry,) = pdp("audit", "--json").json()["logs"][:1]
    assert entry["action"] == "counters.reconcile"
    name = f"{counted} budget_limits.total 0 spent"
    assert entry["metadata"]["before"] == {name: 7}
    assert entry["metadata"]["after"] == {name: 0}
    assert pdp("reconcile", "--check").status == 0


def test_trouble_is_one_line(pdp: Pdp, counted: str, redis: RedisServer) -> None:
    with redis.client() as client:
        client.set(f"pdp:{{{counted}}}:watch", "another", ex=30)
    assert "compared already" in pdp("reconcile").refusal()
    assert "there is no organization `x`" in pdp("reconcile", "--organization-id", "x").refusal()
    pdp.setting("PDP_REDIS_URL", "redis://127.0.0.1:1")
    assert "Redis does not answer" in pdp("reconcile", "--check").refusal()


def test_one_that_cannot_be_compared_does_not_keep_the_others_from_it(
    pdp: Pdp, counted: str, redis: RedisServer
) -> None:
    other = pdp("init", "--organization-id", "other", "--json").json()
    open_root(redis, other["key_id"])
    shift(redis, other["key_id"], "s", 7)
    with redis.client() as client:
        client.set(f"pdp:{{{counted}}}:watch", "another", ex=30)
    done = pdp("reconcile")
    assert done.status == 1
    assert "is not compared: the counters are compared already" in done.err
    assert "corrected: 1 sum" in done.out
    assert told(redis) == {}, "of all there is nothing to tell"
    states = pdp("reconcile", "--json").out
    assert [each["state"] for each in json.loads(states)["organizations"]] == [
        "not_compared",
        "compared",
    ]


def test_where_redis_counts_nothing_yet_there_is_nothing_to_correct(
    pdp: Pdp, counted: str, redis: RedisServer
) -> None:
    redis.flush()
    done = pdp("reconcile")
    assert done.status == 0
    assert "Redis has no counters of it" in done.out
