"""The ledger as counters in Redis see it: what to begin with where Redis lost its own."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from pdp.data.control import ControlClient
from pdp.errors import Unavailable
from pdp.quota.hold import Hold
from pdp.spend import Lot, Snapshot

_ROWS_AT_ONCE: Final = 1000
_HOLDS_AT_ONCE: Final = 200
"""For one call of the script: about 5 ms."""

_IDS_AT_ONCE: Final = 10_000


class Books:
    """Asks the control plane. Raises `Unavailable`."""

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    async def snapshot(self, root: str) -> Snapshot:
        """Return the sums of a root's keys, what is held, and how far each spool is in them."""
        lots = self._control.list_spend(root)
        async for spools, _ in lots:
            return Snapshot(spools, _in_parts(lots))
        raise Unavailable("the control plane did not say what was spent")

    async def settled(self, decision_ids: Sequence[str]) -> set[str]:
        """Return those of the decisions whose outcome is known."""
        found: set[str] = set()
        for start in range(0, len(decision_ids), _IDS_AT_ONCE):
            some = decision_ids[start : start + _IDS_AT_ONCE]
            found |= await self._control.list_settled(some)
        return found


async def _in_parts(lots: AsyncIterator[tuple[dict[str, int], Lot]]) -> AsyncIterator[Lot]:
    async for _, lot in lots:
        most = _HOLDS_AT_ONCE if lot and isinstance(lot[0], Hold) else _ROWS_AT_ONCE
        for start in range(0, len(lot), most):
            yield lot[start : start + most]
