"""Records to put into spools, and what counters know of them."""

from pathlib import Path

from pdp.counters.memory import MemoryCounters
from pdp.quota.hold import Hold, Window
from pdp.records import Facts, Held, Record, Settled, decode
from pdp.spool.journal import Journal
from pdp.spool.segment import list_segments

NOON = 1_795_435_200 * 1_000_000_000
WINDOWS = tuple(Window(key_id, 1_795_392_000, 1_793_491_200) for key_id in ("leaf", "root"))


def held(number: int, cost: int = 100, padding: int = 0) -> Held:
    """Return the record of a hold."""
    hold = Hold(
        f"res_boot-{number:x}",
        f"dec_boot-{number:x}",
        "leaf",
        f"r{number}",
        0,
        "chat:completions",
        "gpt-4o",
        "openai",
        cost,
        cost // 2,
        10,
        5,
        WINDOWS,
        NOON + number,
        NOON + number + 600_000_000_000,
    )
    return Held(NOON + number, _facts(hold, padding), hold, (("leaf", 60, NOON + number),))


def settled(record: Held, cost: int = 40) -> Settled:
    """Return the record that settles a hold."""
    hold = record.hold
    return Settled(
        record.at + 1,
        _facts(hold),
        hold.reservation_id,
        "success",
        200,
        3,
        4,
        0,
        7,
        cost,
        12,
        None,
        "provider",
        hold.windows,
    )


def _facts(hold: Hold, padding: int = 0) -> Facts:
    return Facts(
        hold.decision_id,
        hold.request_id,
        hold.key_id,
        "Leaf",
        "org",
        "",
        "",
        hold.action,
        hold.model,
        hold.provider,
        "",
        "",
        {"padding": "x" * padding} if padding else {},
    )


def opened(directory: Path, segment_bytes: int = 1 << 20) -> Journal:
    """Open a journal."""
    journal = Journal(directory, segment_bytes=segment_bytes)
    journal.open("spool-1")
    return journal


def totals(counters: MemoryCounters) -> dict[str, tuple[int, int, int]]:
    """Return (spent, held, requests) of every key, as the snapshot has them."""
    return {
        account.key_id: (account.total.spent, account.total.held, account.total.requests)
        for account in counters._accounts.values()
    }


def fill(journal: Journal, records: list[Record]) -> None:
    """Append and sync."""
    for record in records:
        journal.append(record)
    journal.sync()


def numbers(journal: Journal, start: int = 0, most: int = 1000) -> list[int]:
    """Read to the end in calls of `most`; return the numbers that the records have in them."""
    found: list[int] = []
    while batch := journal.read(start, most):
        assert [sequence for sequence, _ in batch] == list(range(start, start + len(batch)))
        found += [decode(record).at - held(0).at for _, record in batch]
        start += len(batch)
    return found


def last_segment(directory: Path) -> Path:
    """Return the file that is appended to."""
    return list_segments(directory)[-1].path
