"""A whole `pdp serve` on PostgreSQL, and what becomes of it when the server goes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pdp.v1 import policy_decision_pb2 as pb
from tests.postgres import Postgres, running_postgres
from tests.stack import Stack, check, eventually, eventually_async, report

PEPPER = "the pepper of this test, and of no other"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that a test may stop."""
    with running_postgres() as made:
        yield made


@pytest.fixture
def stack(server: Postgres, tmp_path: Path) -> Iterator[Stack]:
    asyncio.run(server.make(tmp_path.name))
    made = Stack(tmp_path, PDP_DATABASE_URL=server.url(tmp_path.name), PDP_KEY_PEPPER=PEPPER)
    made.init()
    yield made
    made.stop()


def environment(stack: Stack, plane: str) -> bytes:
    return Path(f"/proc/{stack.child_pid(plane)}/environ").read_bytes()


def admin(stack: Stack) -> requests.Response:
    """Ask the admin API; whoever waits for its database gives up before this does."""
    url = f"http://127.0.0.1:{stack.http_port}/v1/api-keys"
    headers = {"authorization": f"Bearer {stack.root['api_key']}"}
    return requests.get(url, headers=headers, timeout=30)


async def reason(stack: Stack, api_key: str) -> str:
    return (await stack.check(api_key)).reason


async def test_a_key_lives_and_dies_on_postgresql(stack: Stack, server: Postgres) -> None:
    key = stack.create_key(budget_limits={"monthly": 5})
    stack.start()
    async with stack.channel() as channel:
        answer = await check(channel, key["api_key"], request_id="r1")
        assert answer.decision == pb.DECISION_ALLOW
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "cost_usd": "0.25"}
        done = await report(channel, {"reservation_id": answer.reservation_id, **usage})
        assert done.accepted == 1

    def entries() -> list[str]:
        return [each["status"] for each in stack.audit() if each["request_id"] == "r1"]

    eventually(lambda: entries() == ["success"], "the ledger has it")
    (row,) = [each for each in stack.json("usage")["usage"] if each["api_key_id"] == key["id"]]
    assert (row["spent_usd"], row["requests"]) == (0.25, 1)
    stack.json("keys", "revoke", key["id"])

    async def revoked() -> bool:
        return await reason(stack, key["api_key"]) == "key_revoked"

    await eventually_async(revoked, "the key is revoked")
    assert list(stack.data_dir.glob("*.db")) == []
    assert server.password.encode() in environment(stack, "control")
    assert server.password.encode() not in environment(stack, "data")
    assert server.password not in stack.log()


async def test_the_gateway_outlives_its_database_and_heals_by_itself(
    stack: Stack, server: Postgres
) -> None:
    cached, unknown = stack.create_key(), stack.create_key()
    stack.start()
    control = stack.child_pid("control")
    assert await reason(stack, cached["api_key"]) == "ok"
    server.stop()
    try:
        assert await reason(stack, cached["api_key"]) == "ok"
        assert await reason(stack, unknown["api_key"]) == "unavailable"
        assert "the database does not answer" in stack.run("keys", "list").stderr
        refused = admin(stack)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "unavailable"
        assert int(refused.headers["retry-after"]) >= 1
        assert await reason(stack, cached["api_key"]) == "ok"
    finally:
        server.start()

    async def healed() -> bool:
        return await reason(stack, unknown["api_key"]) == "ok"

    await eventually_async(healed, "an unknown key is known again")
    assert admin(stack).status_code == 200

    def ledger() -> int:
        return sum(each["status"] == "pending" for each in stack.audit())

    eventually(lambda: ledger() >= 4, "what was decided meanwhile is in the ledger")
    made = stack.create_key()
    assert await reason(stack, made["api_key"]) == "ok"
    stack.json("keys", "revoke", cached["id"])

    async def revoked() -> bool:
        return await reason(stack, cached["api_key"]) == "key_revoked"

    await eventually_async(revoked, "a revocation arrives again")
    assert stack.child_pid("control") == control
    assert "Traceback" not in stack.log()
    assert server.password not in stack.log()


async def test_a_database_that_hangs_holds_nobody_up_for_long(
    stack: Stack, server: Postgres
) -> None:
    cached, unknown = stack.create_key(), stack.create_key()
    stack.start()
    assert await reason(stack, cached["api_key"]) == "ok"
    server.freeze()
    try:
        waiting = asyncio.create_task(asyncio.to_thread(admin, stack))
        assert await reason(stack, cached["api_key"]) == "ok"
        assert await reason(stack, unknown["api_key"]) == "unavailable"
        refused = await waiting
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    finally:
        server.thaw()

    async def healed() -> bool:
        return await reason(stack, unknown["api_key"]) == "ok"

    await eventually_async(healed, "an unknown key is known again")
    assert admin(stack).status_code == 200
