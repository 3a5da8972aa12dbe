"""What a Report costs the spool: with no sync, with an fsync of its own, and with grouped ones.

    .venv/bin/python -m bench.spool [--reports 20000] [--folder FOLDER]

In process: the real journal and sink, records of reports as the engine writes them. `us` is
the CPU of this process a report, `ms` what its caller waits; for an fsync of its own that is
the disk. FOLDER is on the disk that is measured. Reports come in lots of 20, as from a proxy.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pdp.serve.sink import JournalSink
from pdp.spool.journal import Journal
from tests.unit.spool.desk import held, settled

_LOT = 20


class Counted(Journal):
    """A journal that counts its syncs."""

    syncs = 0

    def sync(self) -> None:
        super().sync()
        self.syncs += 1


def alone(folder: Path, reports: int, *, sync: bool) -> tuple[float, float]:
    """Append, and sync each time or never; return (CPU in us, time in ms) of a report."""
    journal = Counted(folder)
    journal.open("spool")
    record = settled(held(1))
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(reports):
        journal.append(record)
        if sync:
            journal.sync()
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    journal.close()
    return cpu / reports * 1e6, seconds / reports * 1e3


async def grouped(folder: Path, reports: int) -> tuple[float, float, float]:
    """Append through the sink; return (CPU in us, time in ms, reports a sync)."""
    journal = Counted(folder)
    journal.open("spool")
    sink = JournalSink(journal)
    syncing = asyncio.create_task(sink.sync_forever())
    record = settled(held(1))
    worked, waited = time.process_time(), 0.0
    for _ in range(reports // _LOT):
        start = time.perf_counter()
        for _ in range(_LOT):
            sink.append(record)
        waited += time.perf_counter() - start
        await asyncio.sleep(0.001)
    cpu = time.process_time() - worked
    syncing.cancel()
    journal.close()
    return cpu / reports * 1e6, waited / reports * 1e3, reports / max(1, journal.syncs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        cases: dict[str, Callable[[], tuple[float, ...]]] = {
            "no sync": lambda: alone(Path(name, "a"), chosen.reports, sync=False),
            "its own fsync": lambda: alone(Path(name, "b"), chosen.reports // 20, sync=True),
            "grouped": lambda: asyncio.run(grouped(Path(name, "c"), chosen.reports)),
        }
        for case, measure in cases.items():
            cpu, waits, *lot = measure()
            more = f"  {lot[0]:.0f} reports a sync" if lot else ""
            print(f"{case:14} {cpu:8.1f} us {waits:8.4f} ms{more}")


if __name__ == "__main__":
    main()
