"""A process that appends until it is killed, and says what it has appended."""

import os
import sys
from pathlib import Path

from pdp.spool.recover import recover
from tests.unit.spool.desk import NOON, held, settled


def main() -> None:
    counters, journal = recover(
        Path(sys.argv[1]), new_spool_id="s", now=NOON, wait=10, segment_bytes=20_000
    )
    number = journal.next_sequence
    while True:
        record = held(number, cost=number)
        journal.append(record)
        counters.apply(record)
        os.write(1, f"{number} held\n".encode())
        number += 1
        if number % 3:
            done = settled(record, cost=1)
            journal.append(done)
            counters.apply(done)
            os.write(1, f"{number} settled\n".encode())
            number += 1


if __name__ == "__main__":
    main()
