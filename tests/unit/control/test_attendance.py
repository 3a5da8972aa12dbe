"""Who is let in beside whom."""

import asyncio

import pytest

from pdp.control.attendance import IN_MEMORY, UNSAID, Attendance
from pdp.errors import Conflict

IN_REDIS = "single redis.example:6379/0"


async def test_only_those_that_share_are_beside_others() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", IN_REDIS)
    await attendance.enter("b", IN_REDIS)
    with pytest.raises(Conflict, match="this data plane counts in memory, and data plane `a`"):
        await attendance.enter("c", IN_MEMORY)
    await attendance.leave("a")
    await attendance.leave("b")
    await attendance.enter("c", IN_MEMORY)
    with pytest.raises(Conflict, match="one counts in memory, and data plane `c`"):
        await attendance.enter("a", IN_REDIS)


async def test_who_counts_in_another_redis_is_refused() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", IN_REDIS)
    with pytest.raises(Conflict, match=r"`single other:6379/0`, and .* `a`.* in `single redis\."):
        await attendance.enter("b", "single other:6379/0")
    await attendance.enter("c", UNSAID)
    with pytest.raises(Conflict, match="counts in memory"):
        await attendance.enter("d", IN_MEMORY)


async def test_one_is_here_until_its_last_stream_has_ended() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", IN_MEMORY)
    await attendance.enter("a", IN_MEMORY)  # It is back before the old line is known broken.
    await attendance.leave("a")
    with pytest.raises(Conflict):
        await attendance.enter("b", IN_MEMORY)
    await attendance.leave("a")
    await attendance.enter("b", IN_MEMORY)


async def test_who_comes_as_another_goes_is_let_in() -> None:
    attendance = Attendance(patience=30)
    await attendance.enter("a", IN_MEMORY)
    entering = [asyncio.create_task(attendance.enter(name, IN_MEMORY)) for name in "bb"]
    await asyncio.sleep(0)
    await attendance.leave("a")
    await asyncio.gather(*entering)
