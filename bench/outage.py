"""SQL away for an hour at 100 reports a second, as fast as that goes: is each one settled?

    .venv/bin/python -m bench.outage [--reports 360000] [--out FILE]

PostgreSQL is stopped under a running `pdp serve`; then so many usages come, 100 in a call,
each of its own request; then it is started again. When the spool is empty, every usage must
be in the ledger once, at its price. PostgreSQL is Debian's, without fsync, as tests have it.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import Figures
from bench.load import Meter, rss
from bench.report import batches
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc
from tests.postgres import Postgres, running_postgres
from tests.stack import Stack

_IN_FLIGHT = 4
_BATCH = 100
_DRAINED = 3600.0
_NANO_EACH = 750_000
"""gpt-4o: 100 tokens of prompt at 2.50 and 50 of output at 10.00 USD a million."""


async def feed(stack: Stack, key_id: str, reports: int) -> None:
    """Report so many usages; every one must be acknowledged."""
    calls = itertools.islice(batches(key_id), reports // _BATCH)
    async with stack.channel() as channel:
        stub = pb_grpc.PolicyDecisionServiceStub(channel)

        async def one() -> None:
            for call in calls:
                answer = await stub.Report(call)
                assert answer.accepted == _BATCH, answer.errors[0]

        await asyncio.gather(*(one() for _ in range(_IN_FLIGHT)))


def metric(stack: Stack, name: str) -> float:
    """Return a figure of the data plane."""
    lines = stack.get("/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def away(
    figures: Figures, stack: Stack, key: dict[str, Any], server: Postgres, reports: int
) -> None:
    """Stop SQL, report, start it again, and wait until everything is there."""
    data, control = stack.child_pid("data"), stack.child_pid("control")
    server.stop()
    with Meter(data) as fed:
        asyncio.run(feed(stack, key["id"], reports))
    assert metric(stack, "pdp_spool_records") >= reports
    figures.add("records waiting", metric(stack, "pdp_spool_records"))
    figures.add("bytes a record on disk", metric(stack, "pdp_spool_bytes") / reports)
    figures.add("data plane, MB", rss(data))
    figures.add("to take them, s", fed.seconds)
    figures.add("to take them, us of CPU a report", fed.cpu / reports * 1e6)
    server.start()
    with Meter(control) as drained:
        end = time.monotonic() + _DRAINED
        # Seldom: to make the metrics costs as much as to take a hundred reports.
        while metric(stack, "pdp_spool_records"):
            assert time.monotonic() < end, "the spool is not empty yet"
            # What autovacuum does by itself; tests have it off, and plans made of an empty table.
            asyncio.run(server.execute("ANALYZE", "outage"))
            time.sleep(1)
    figures.add("to drain, s", drained.seconds)
    figures.add("to drain, us of CPU a record in the control plane", drained.cpu / reports * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reports", type=int, default=360_000)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    reports = chosen.reports // _BATCH * _BATCH
    figures = Figures("")
    with tempfile.TemporaryDirectory() as name, running_postgres() as server:
        asyncio.run(server.make("outage"))
        pepper = "the pepper of this benchmark, and of no other"
        stack = Stack(Path(name), PDP_DATABASE_URL=server.url("outage"), PDP_KEY_PEPPER=pepper)
        stack.init()
        key = stack.create_key(budget_limits={"total": 1_000_000})
        try:
            stack.start()
            asyncio.run(feed(stack, key["id"], _BATCH))  # The key is known from here on.
            began = time.monotonic()
            away(figures, stack, key, server, reports)
            print(f"{reports:,} reports, {time.monotonic() - began:.0f} s in all", flush=True)
            rows = stack.json("usage")["usage"]
            (row,) = [each for each in rows if each["api_key_id"] == key["id"]]
            found = row["requests"], round(row["spent_usd"] * 1e9)
            total = reports + _BATCH
            assert found == (total, total * _NANO_EACH), found
        finally:
            stack.stop()
    for title, values in figures.rounds.items():
        print(f"{title:52} {values[0]:12.1f}")
    print(f"settled: {reports:,}; lost 0, counted twice 0")
    figures.save(chosen.out, "outage")


if __name__ == "__main__":
    main()
