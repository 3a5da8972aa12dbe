"""`make crash`: a hundred kill -9 during 20,000 reports, and nothing lost or counted twice."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.crash.run import crash
from tests.stack import Stack


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--seed", default=secrets.token_hex(4), help="the same gives the same dice")
    parser.add_argument("--hold-ttl", type=float, help="let holds run out after so many seconds")
    chosen = parser.parse_args()
    sys.stdout.write(f"seed {chosen.seed}\n")
    settings = {"PDP_HOLD_TTL": str(chosen.hold_ttl)} if chosen.hold_ttl else {}
    with tempfile.TemporaryDirectory() as name:
        stack = Stack(Path(name), **settings)
        stack.init()
        try:
            done = asyncio.run(
                crash(
                    stack,
                    chosen.kills,
                    chosen.reports,
                    chosen.seed,
                    expire=chosen.hold_ttl is not None,
                )
            )
        finally:
            stack.stop()
    kills = ", ".join(f"{count} {target}" for target, count in sorted(done.kills.items()))
    sys.stdout.write(
        f"{done.kills.total()} kills ({kills}) in {done.seconds:.0f} s\n"
        f"{done.reports} reports acknowledged, {done.again} of them sent again: "
        "0 lost, 0 counted twice\n"
        f"{done.asked} requests, {done.expired} ran out: counters and ledger are the oracle's\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
