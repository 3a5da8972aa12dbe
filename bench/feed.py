"""Hands made-up spool records to a control plane as fast as it takes them, until stopped.

    python -m bench.feed CONTROL_ADDRESS KEY_ID

Prints how many it has handed over; stands for the data planes of a busy day.
"""

import asyncio
import itertools
import os
import secrets
import sys
import time

from pdp.data.control import ControlClient
from pdp.quota.hold import Window
from pdp.records import Facts, Settled, encode

_BATCH = 500


def settled(key_id: str, spool: str, number: int) -> bytes:
    """Return the record of a usage that nobody asked for before."""
    name, now = f"{spool}_{number}", time.time_ns()
    facts = Facts(
        "dec_" + name, "req_" + name, key_id, "feed", "org", "t", "", "chat:completions",
        "gpt-4o", "openai", "192.0.2.1", "OpenAI/Python 1.99", {},
    )  # fmt: skip
    day = now // 86_400_000_000_000 * 86_400
    windows: tuple[Window, ...] = (Window(key_id, day, day),)
    return encode(
        Settled(
            now, facts, "", "success", 200, 100, 50, 0, 150, 750_000, 245, None, "provider", windows
        )
    )


async def feed(address: str, key_id: str) -> None:
    """Feed without end."""
    os.nice(10)  # What a data plane spends on it is not what is measured.
    control, spool = ControlClient(address, ""), secrets.token_hex(8)
    for first in itertools.count(0, _BATCH):
        print(first, flush=True)
        records = [settled(key_id, spool, first + index) for index in range(_BATCH)]
        await control.ingest(spool, first, records)


if __name__ == "__main__":
    asyncio.run(feed(*sys.argv[1:]))
