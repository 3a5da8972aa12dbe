"""Who is let in beside whom."""

import asyncio

import pytest
from structlog.testing import capture_logs

from pdp.control.attendance import IN_MEMORY, UNSAID, VANISHED, Attendance
from pdp.errors import Conflict, Unavailable
from pdp.serve.control_service import is_far

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


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_one_whose_machine_may_be_gone_is_waited_for() -> None:
    clock = Clock()
    attendance = Attendance(patience=0, monotonic=clock)
    await attendance.enter("a", IN_MEMORY, is_far=True)
    with capture_logs() as logs:
        for clock.now in (0.0, 5.0, VANISHED - 1):
            with pytest.raises(Unavailable, match=r"`a` is here .* let in within 12 s"):
                await attendance.enter("b", IN_MEMORY)
    assert len(logs) == 1, "it is said once"
    await attendance.leave("a")  # Its line is given up.
    await attendance.enter("b", IN_MEMORY)


async def test_one_that_is_there_all_the_time_lives() -> None:
    clock = Clock()
    attendance = Attendance(patience=0, monotonic=clock)
    await attendance.enter("a", IN_MEMORY, is_far=True)
    for clock.now in (0.0, 100.0):  # It gave up meanwhile: `a` may have vanished since.
        with pytest.raises(Unavailable):
            await attendance.enter("b", IN_MEMORY)
    for clock.now in (100 + VANISHED - 1, 100 + VANISHED):
        with pytest.raises(Conflict if clock.now == 100 + VANISHED else Unavailable):
            await attendance.enter("b", IN_MEMORY, is_far=True)
    await attendance.leave("a")
    await attendance.enter("a", IN_MEMORY)
    with pytest.raises(Conflict):
        await attendance.enter("b", IN_MEMORY)


async def test_one_that_was_here_and_knows_keys_is_not_left_waiting() -> None:
    attendance = Attendance(patience=0, monotonic=Clock())
    for name in "ab":
        await attendance.enter(name, IN_MEMORY, is_far=True)
        if name == "a":
            await attendance.leave(name)  # It was cut off, and another took its place.
    with pytest.raises(Conflict):
        await attendance.enter("a", IN_MEMORY, is_far=True)
    with pytest.raises(Unavailable):  # It is another process now.
        await attendance.enter("a", IN_MEMORY, is_far=True)


@pytest.mark.parametrize(
    ("peer", "far"),
    [
        ("unix:", False),
        ("unix:/run/control.sock", False),
        ("ipv4:127.0.0.1:1234", False),
        ("ipv6:%5B::1%5D:1234", False),
        ("ipv6:[::1]:1234", False),
        ("ipv4:10.0.0.7:1234", True),
        ("ipv6:%5Bfd00::7%5D:1234", True),
    ],
)
def test_a_line_of_this_machine_ends_with_its_process(peer: str, far: bool) -> None:
    assert is_far(peer) is far


async def test_of_a_spool_and_its_copy_one_is_let_in() -> None:
    attendance = Attendance(patience=0)
    await attendance.enter("a", IN_REDIS, life="first")
    await attendance.enter("a", IN_REDIS, life="first")  # It has lost its line.
    with pytest.raises(Conflict, match=r"PDP_DATA_DIR: .* same spool, `a`.* copy"):
        await attendance.enter("a", IN_REDIS, life="second")
    with pytest.raises(Conflict, match="PDP_DATA_DIR"):
        await attendance.no_copy("a", "second")
    await attendance.no_copy("a", "first")
    await attendance.enter("a", IN_REDIS)  # One of before, which does not say.
    for _ in range(3):
        await attendance.leave("a")
    await attendance.enter("a", IN_REDIS, life="second")


async def test_a_process_whose_machine_may_be_gone_is_waited_for_with_its_spool() -> None:
    clock = Clock()
    attendance = Attendance(patience=0, monotonic=clock)
    await attendance.enter("a", IN_MEMORY, life="first", is_far=True)
    with pytest.raises(Unavailable, match=r"same spool.*let in within 12 s"):
        await attendance.no_copy("a", "second")
    clock.now = VANISHED
    with pytest.raises(Conflict):
        await attendance.enter("a", IN_MEMORY, life="second", is_far=True)
