"""What the ledger has of the keys of an organization, as it travels to counters that were lost."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from pdp.quota.hold import Hold


class SpendRow(Struct, frozen=True, array_like=True, gc=False):
    """One key in one window, which starts at second `start` (0 of `total`). Cost in nano-USD.

    What is held is not in it.
    """

    key_id: str
    period: Literal["day", "month", "total"]
    start: int
    cost: int
    tokens: int
    requests: int


Lot = Sequence[SpendRow] | Sequence[Hold]
"""Rows, or holds, never both."""


class Snapshot(Struct, frozen=True):
    """The ledger at one instant: how far each spool is in it, its sums, and what is pending.

    All rows come before the holds. Of a hold the ledger knows amounts and windows, not its
    price and end: what it says of these is for the time until its data plane has said more.
    """

    spools: Mapping[str, int]
    lots: AsyncIterator[Lot]
