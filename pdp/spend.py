"""What the ledger has of the keys of an organization, as it travels between the planes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct


class SpendRow(Struct, frozen=True, array_like=True, gc=False):
    """One key in one window, which starts at second `start` (0 of `total`). Cost in nano-USD.

    What is held is not in it: of that the data planes know.
    """

    key_id: str
    period: Literal["day", "month", "total"]
    start: int
    cost: int
    tokens: int
    requests: int


class Snapshot(Struct, frozen=True):
    """The ledger at one instant: how far each spool is in it, and its sums, in lots."""

    spools: Mapping[str, int]
    rows: AsyncIterator[Sequence[SpendRow]]
