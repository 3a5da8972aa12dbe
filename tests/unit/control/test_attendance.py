"""Who is let in beside whom."""

import asyncio

import pytest

from pdp.control.attendance import Attendance
from pdp.errors import Conflict


async def test_only_those_that_share_are_beside_others() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", shares=True)
    await attendance.enter("b", shares=True)
    with pytest.raises(Conflict, match="this data plane counts in memory, and data plane `a`"):
        await attendance.enter("c", shares=False)
    await attendance.leave("a")
    await attendance.leave("b")
    await attendance.enter("c", shares=False)
    with pytest.raises(Conflict, match="one counts in memory, and data plane `c`"):
        await attendance.enter("a", shares=True)


async def test_one_is_here_until_its_last_stream_has_ended() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", shares=False)
    await attendance.enter("a", shares=False)  # It is back before the old line is known broken.
    await attendance.leave("a")
    with pytest.raises(Conflict):
        await attendance.enter("b", shares=False)
    await attendance.leave("a")
    await attendance.enter("b", shares=False)


async def test_who_comes_as_another_goes_is_let_in() -> None:
    attendance = Attendance(patience=30)
    await attendance.enter("a", shares=False)
    entering = [asyncio.create_task(attendance.enter(name, shares=False)) for name in "bb"]
    await asyncio.sleep(0)
    await attendance.leave("a")
    await asyncio.gather(*entering)
