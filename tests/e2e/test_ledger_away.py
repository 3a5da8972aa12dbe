"""SQL that is away for long: the spool grows within its bound, and drains, each record once."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Postgres, running_postgres
from tests.stack import Stack, check, eventually, report


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server that the test stops."""
    with running_postgres() as made:
        yield made


@pytest.fixture
def stack(server: Postgres, tmp_path: Path) -> Iterator[Stack]:
    asyncio.run(server.make(tmp_path.name))
    pepper = "the pepper of this test, and of no other"
    made = Stack(tmp_path, PDP_DATABASE_URL=server.url(tmp_path.name), PDP_KEY_PEPPER=pepper)
    made.init()
    yield made
    made.stop()


MOST_BYTES = 1 << 20
"""The least that can be set: room for about 1,500 requests."""


async def _work(stack: Stack, key: dict[str, Any], name: str, count: int) -> list[str]:
    """Check and report; return the codes that the reports met."""
    codes: list[str] = []
    async with stack.channel() as channel:
        for number in range(count):
            names = [f"{name}-{number}-{index}" for index in range(10)]
            answers = await asyncio.gather(
                *(check(channel, key["api_key"], request_id=each, **SMALL) for each in names)
            )
            assert {answer.reason for answer in answers} == {"ok"}, "the verdicts stand"
            done = await report(channel, *(_usage(key, each) for each in names))
            codes += [error.code for error in done.errors] or ["accepted"] * done.accepted
    return codes


SMALL = {"estimated_prompt_tokens": 10, "max_output_tokens": 10}


def _usage(key: dict[str, Any], request_id: str) -> dict[str, Any]:
    return {"key_id": key["id"], "request_id": request_id, "cost_usd": "0.000000001"}


async def test_a_database_that_is_away_for_long_gets_every_record_once(
    stack: Stack, server: Postgres
) -> None:
    stack.environment["PDP_SPOOL_MAX_BYTES"] = str(MOST_BYTES)
    key = stack.create_key(budget_limits={"total": 100})
    other = stack.create_key(permissions={"models": []})
    stack.start()
    for each in (key, other):
        await stack.check(each["api_key"], dry_run=True)  # They are cached from here on.
    server.stop()
    try:
        codes = await _work(stack, key, "w", 200)
        denied = [(await stack.check(other["api_key"])).reason for _ in range(3)]
        look = await stack.check(key["api_key"], dry_run=True)
        metrics = dict(
            line.split()
            for line in stack.get("/metrics")[1].splitlines()
            if "{" not in line and "#" not in line
        )
    finally:
        server.start()
    assert denied == ["model_not_allowed"] * 3
    taken = codes.index("unavailable")
    assert set(codes[:taken]) == {"accepted"}
    assert set(codes[taken:]) == {"unavailable"}, "what is in memory alone is not acknowledged"
    assert taken > 500
    assert (look.limits[0].spent, look.limits[0].held) == (2000, 0), "counters go on"
    assert float(metrics["pdp_spool_bytes"]) <= MOST_BYTES
    assert float(metrics["pdp_spool_max_bytes"]) == MOST_BYTES
    assert float(metrics["pdp_spool_waiting"]) > 0
    assert float(metrics["pdp_spool_skipped_total"]) == 3

    def drained() -> bool:
        metrics = stack.get("/metrics")[1]
        return "pdp_spool_records 0.0" in metrics and "pdp_spool_waiting 0.0" in metrics

    eventually(drained, "everything is in the ledger", 60.0)
    for words in (
        "the spool fills up",
        "the spool has reached its bound",
        "the spool is well again",
    ):
        assert words in stack.log(), words
    (row,) = [each for each in stack.json("usage")["usage"] if each["api_key_id"] == key["id"]]
    assert (round(row["spent_usd"] * 1e9), row["held_usd"], row["requests"]) == (2000, 0, 2000)
    async with stack.channel() as channel:
        done = await report(channel, *(_usage(key, f"w-{n}-0") for n in range(200)))
    assert (done.duplicates, done.accepted) == (200, 0)
    statuses = {each["request_id"]: each["status"] for each in stack.audit(limit=100_000)}
    assert sum(name.startswith("w-") for name in statuses) == 2000
    assert {statuses[name] for name in statuses if name.startswith("w-")} == {"success"}
