"""From what a data plane has spooled to what Redis is to count: done again, each op moves once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from pdp.counters.redis import asks
from pdp.counters.redis.layout import root_of
from pdp.errors import SpoolFailed
from pdp.quota.hold import Outcome, Settlement
from pdp.records import (
    Expired,
    Extended,
    Held,
    Overruled,
    Record,
    Settled,
    decode,
    overruled,
    settlement_of,
)

_LOT: Final = 500

ReadSpool = Callable[[int, int], Awaitable[Sequence[tuple[int, bytes]]]]
"""(first number, most) -> (number, record) in order; empty: no more."""

Op = tuple[bytes, Settled | None]
"""What is asked, and the record of a report that it does again."""


class History:
    """A spool as ops. `end` tells the number of the record that comes next.

    `shipped` tells up to which the ledger has them. `append` adds one, or raises `SpoolFailed`.
    """

    def __init__(
        self,
        spool_id: str,
        read: ReadSpool,
        end: Callable[[], int],
        shipped: Callable[[], int],
        append: Callable[[Overruled], None],
    ) -> None:
        self.spool_id = spool_id
        self.end = end
        self.shipped = shipped
        self._read = read
        self._append = append

    def overrule(self, settled: Settled, outcome: Outcome) -> None:
        """Write down that another report than this one was counted."""
        with suppress(SpoolFailed):  # Then the ledger differs, and is told of by a comparison.
            self._append(overruled(settled, outcome))

    async def since(self, root: str, first: int) -> AsyncIterator[tuple[list[Op], int]]:
        """Yield the ops of a root from a record on, some at a time, and the record after them."""
        name = root.encode()
        while lot := await self._read(first, _LOT):
            ops: list[Op] = []
            for number, data in lot:
                first = number + 1
                # Each of many roots reads all that was spooled: most of it is not decoded.
                if name in data:
                    ops += _ops_of(decode(data), root)
            yield ops, first

    async def roots(self) -> set[str]:
        """Return the roots of all that is in the spool."""
        found: set[str] = set()
        first = 0
        while lot := await self._read(first, _LOT):
            first = lot[-1][0] + 1
            found.update(root_of_record(decode(data)) for _, data in lot)
        return found - {""}


def root_of_record(record: Record) -> str:
    """Return the root of what a record counts; empty if it counts nothing."""
    if isinstance(record, Held):
        return asks.key_of(record.hold.windows)
    if isinstance(record, Settled | Expired | Overruled):
        return asks.key_of(record.windows) if record.windows else ""
    return root_of(record.reservation_id) if isinstance(record, Extended) else ""


def _ops_of(record: Record, root: str) -> Iterator[Op]:
    if root_of_record(record) != root:
        return
    if isinstance(record, Held):
        yield asks.publish(record.hold, record.rates), None
    elif isinstance(record, Extended):
        yield asks.extend(record.reservation_id, record.expires_at), None
    elif isinstance(record, Settled):
        yield asks.settle(settlement_of(record, record.facts.request_id), again=True), record
    elif isinstance(record, Expired):
        ended = asks.settle(
            Settlement(
                record.reservation_id,
                record.key_id,
                record.request_id,
                record.cost,
                record.tokens,
                record.windows,
                record.at,
                expired=True,
            ),
            again=True,
        )
        yield ended, None
