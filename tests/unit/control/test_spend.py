"""What counters begin with where Redis has lost theirs."""

from typing import Any

from msgspec.structs import replace

from pdp.control.spend import spend_below
from pdp.quota.hold import Hold
from pdp.records import Held
from pdp.spend import SpendRow
from tests.unit.control.desk import NOON, SECOND, Desk, held, settled

HOUR = 3600 * SECOND


def shared(desk: Desk, decision_id: str, **fields: Any) -> Held:
    """Return the record of a hold that was made in Redis."""
    root = desk.root.key_id
    record = held(decision_id, chain=("leaf", root), **fields)
    hold = replace(record.hold, reservation_id=f"res_{decision_id}.{root}")
    return replace(record, hold=hold)


async def listed(desk: Desk) -> tuple[list[str], dict[str, Hold]]:
    """Return the kinds of the lots in their order, and the holds."""
    kinds: list[str] = []
    holds: dict[str, Hold] = {}
    async for lot in spend_below(desk.database, desk.root.key_id, NOON // SECOND):
        if isinstance(lot, dict):
            kinds.append("spools")
            continue
        kinds += {type(each).__name__ for each in lot}
        holds |= {each.decision_id: each for each in lot if isinstance(each, Hold)}
    return kinds, holds


async def test_what_is_pending_comes_last_with_its_amounts_and_windows(desk: Desk) -> None:
    pending, done = shared(desk, "d1", cost=100, tokens=10), shared(desk, "d2")
    await desk.take(pending, done, settled(done))
    kinds, holds = await listed(desk)
    assert kinds == ["spools", SpendRow.__name__, Hold.__name__]
    (found,) = holds.values()
    expected = replace(pending.hold, input_cost=100, prompt_tokens=10, expires_at=NOON)
    assert found == expected


async def test_what_no_data_plane_can_still_hold_in_redis_is_left_out(desk: Desk) -> None:
    await desk.take(
        held("memory", chain=("leaf", desk.root.key_id)),
        shared(desk, "old", at=NOON - 50 * HOUR),
        shared(desk, "other", organization_id="other"),
        shared(desk, "recent", at=NOON - 48 * HOUR),
    )
    _, holds = await listed(desk)
    assert list(holds) == ["recent"]
