"""Several data planes: two workers of one host, and another host, over mutual TLS, on one Redis."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import requests

from pdp.serve.merge import GAUGES
from tests.planes import Planes, data_plane_of, planes_apart
from tests.redis import RedisServer
from tests.stack import Stack, check, eventually, eventually_async, report

HOLD = 1000 * 2500 + 1000 * 10_000
ASKED = {"estimated_prompt_tokens": 1000, "max_output_tokens": 1000}
READY = 'pdp_workers{state="ready"}'
MOST_LINES = 200

Lines = list[grpc.aio.Channel]


class Hosts(NamedTuple):
    """A control plane, a host with two workers, and one with a data plane alone."""

    planes: Planes
    two: Stack
    other: Stack

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Ask the admin API."""
        control = self.planes.control
        answer = requests.request(
            method,
            f"http://127.0.0.1:{control.http_port}/v1/{path}",
            headers={"authorization": f"Bearer {control.root['api_key']}"},
            json=body or None,
            timeout=30,
        )
        assert answer.ok, answer.text
        return answer.json()

    def create_key(self, **body: Any) -> dict[str, Any]:
        """Make a key."""
        key: dict[str, Any] = self.ask("POST", "api-keys", name="test", **body)
        return key


@pytest.fixture(scope="module")
def hosts(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    redis.flush()  # What other tests hold there would run out here, and be shipped.
    folder = tmp_path_factory.mktemp("workers")
    shared = {"PDP_REDIS_URL": redis.url, "PDP_REDIS_DEADLINE": "0.5"}
    with planes_apart(folder, PDP_WORKERS="2", **shared) as planes:
        port = int(planes.control.environment["PDP_CONTROL_LISTEN"].rpartition(":")[2])
        shown = planes.authority.issue("other")
        other = data_plane_of(folder / "other", port, shown, planes.authority.ca)
        other.environment.update(shared)
        try:
            other.start()
            yield Hosts(planes, planes.data, other)
        finally:
            other.stop()


@asynccontextmanager
async def lines(stack: Stack, secret: str, workers: int = 2) -> AsyncIterator[Lines]:
    """Give a line to each worker: the kernel spreads them by their ports."""
    found: dict[str, grpc.aio.Channel] = {}
    spare = []
    for _ in range(MOST_LINES):
        channel = stack.channel()
        answer = await check(channel, secret, dry_run=True)
        if found.setdefault(answer.decision_id.rpartition("-")[0], channel) is not channel:
            spare.append(channel)
        if len(found) == workers:
            break
    try:
        assert len(found) == workers, "every worker takes connections"
        yield list(found.values())
    finally:
        for channel in (*found.values(), *spare):
            await channel.close(None)


def figures(stack: Stack) -> Mapping[str, float]:
    status, text = stack.get("/metrics")
    assert status == 200
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def listeners(protocol: str, port: int) -> int:
    """Return how many sockets listen on a port of loopback."""
    rows = [row.split() for row in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]]
    states = ("0A", "07")  # LISTEN of TCP; UDP has but one.
    return sum(row[1] == f"0100007F:{port:04X}" and row[3] in states for row in rows)


async def test_a_hold_of_one_worker_is_counted_and_settled_by_the_other(hosts: Hosts) -> None:
    two = hosts.two
    key = hosts.create_key(budget_limits={"total": 0.03})
    async with lines(two, key["api_key"]) as (one, another), hosts.other.channel() as elsewhere:
        held = await check(one, key["api_key"], request_id="w1", **ASKED)
        assert held.reason == "ok", held
        again = await check(another, key["api_key"], request_id="w1", **ASKED)
        assert again.reservation_id == held.reservation_id
        second = await check(elsewhere, key["api_key"], request_id="w2", **ASKED)
        assert second.reason == "ok", "the other host has its part of the budget"
        refused = await check(another, key["api_key"], **ASKED)
        assert (refused.reason, refused.limits[0].held) == ("budget_exceeded", 2 * HOLD)
        usage = {"reservation_id": held.reservation_id, "cost_usd": "0.001"}
        assert (await report(another, usage)).accepted == 1
        assert (await report(one, usage)).duplicates == 1
        usage = {"reservation_id": second.reservation_id, "cost_usd": "0.001"}
        assert (await report(one, usage)).accepted == 1

    def settled() -> bool:
        logs = hosts.ask("GET", "audit-logs")["logs"]
        entries = {each["request_id"]: each["status"] for each in logs}
        return (entries.get("w1"), entries.get("w2")) == ("success", "success")

    eventually(settled, "the ledger has put the halves together")


async def test_its_metrics_are_the_sum_of_both(hosts: Hosts) -> None:
    key = hosts.create_key(access="read_only")
    name = 'pdp_checks_total{adapter="grpc",decision="deny",reason="action_not_allowed"}'
    async with lines(hosts.two, hosts.create_key()["api_key"]) as channels:
        before = figures(hosts.two)
        for channel in channels:
            for _ in range(3):
                assert (await check(channel, key["api_key"])).reason == "action_not_allowed"
        after = figures(hosts.two)
    assert after[name] - before.get(name, 0) == 6
    duration = "pdp_check_duration_seconds_count"
    assert after[duration] - before[duration] == 6
    assert after[READY] == 2
    assert after["pdp_spool_max_bytes"] == 2 * 8 * 1024**3
    assert after["pdp_datastore_partitioned"] == 0
    gauges = set(re.findall(r"^# TYPE (\w+) gauge$", hosts.two.get("/metrics")[1], re.MULTILINE))
    assert gauges - {"pdp_workers"} <= GAUGES.keys(), "each has a rule"


async def test_a_revoked_key_stops_on_every_one(hosts: Hosts) -> None:
    key = hosts.create_key()
    async with lines(hosts.two, key["api_key"]) as channels, hosts.other.channel() as elsewhere:
        assert (await check(elsewhere, key["api_key"])).reason == "ok"
        hosts.ask("DELETE", f"api-keys/{key['id']}")
        for channel in (*channels, elsewhere):

            async def revoked(channel: grpc.aio.Channel = channel) -> bool:
                return (await check(channel, key["api_key"])).reason == "key_revoked"

            await eventually_async(revoked, "the key is refused")


async def test_one_that_is_killed_comes_back_and_the_other_goes_on(hosts: Hosts) -> None:
    two = hosts.two
    key = hosts.create_key(budget_limits={"total": 5.0})
    spools = {path.name: (path / "spool_id").read_text() for path in two.data_dir.glob("spool*")}
    async with lines(two, key["api_key"]) as (one, another):
        held = [await check(each, key["api_key"], **ASKED) for each in (one, another)]
        before = figures(two)
        killed = two.kill("data")
        eventually(lambda: killed not in two.child_pids("data"), "it is dead")
        usages = [{"reservation_id": each.reservation_id, "cost_usd": "0.5"} for each in held]
        async with two.channel() as channel:
            for usage in usages:
                assert (await report(channel, usage)).accepted == 1
        assert two.get("/readyz")[0] == 200, "half of them are enough"

    def is_back() -> bool:
        pids = two.child_pids("data")
        return killed not in pids and len(pids) == 2 and figures(two)[READY] == 2

    eventually(is_back, "it is back", deadline=30)
    after = figures(two)
    fallen = {
        name for name, value in before.items() if "_total" in name and after.get(name, 0) < value
    }
    assert not fallen
    async with lines(two, key["api_key"]) as channels:
        for channel in channels:
            look = await check(channel, key["api_key"], dry_run=True)
            assert (look.limits[0].spent, look.limits[0].held) == (1_000_000_000, 0)
    assert spools == {
        path.name: (path / "spool_id").read_text() for path in two.data_dir.glob("spool*")
    }
    assert '"worker": ' in two.log()


def test_what_they_share_is_claimed_and_what_each_has_is_told(hosts: Hosts, tmp_path: Path) -> None:
    """The last of the module: the host is down from here on."""
    two = hosts.two
    eventually(lambda: figures(two)[READY] == 2, "both are there", deadline=30)
    assert [listeners("tcp", two.nginx_port), listeners("udp", two.usage_port)] == [2, 2]
    second = Stack(tmp_path)
    second.environment = {**two.environment, "PDP_DATA_DIR": str(tmp_path / "another")}
    refused = second.run("serve", "--plane", "data")
    assert refused.returncode == 1
    assert "PDP_GRPC_LISTEN: cannot listen" in refused.stderr.splitlines()[-1]
    assert two.stop() == 0
    found = two.json("spool", "status")
    spools = [found, *found["others"]]
    assert [(each["pairing"], each["unshipped"]) for each in spools] == [("paired", 0)] * 2
    assert len({each["spool_id"] for each in spools}) == 2
