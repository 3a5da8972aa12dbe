"""GCRA: what any interval admits at most, and what waiting is worth."""

from hypothesis import given
from hypothesis import strategies as st

from pdp.quota.gcra import NEVER, admit, remaining
from pdp.quota.limit import Rate

AMOUNTS = st.integers(1, 12)
STEPS = st.lists(st.integers(0, 40), max_size=120)


def rate(amount: int, capacity: int, period: int = 100) -> Rate:
    interval = -(-period // amount) if amount else 0
    return Rate("rate", "k", "K", amount, period, interval, capacity if amount else 0, period)


@given(amount=AMOUNTS, capacity=AMOUNTS, steps=STEPS)
def test_any_interval_of_one_period_admits_at_most_capacity_and_amount(
    amount: int, capacity: int, steps: list[int]
) -> None:
    limit, tat, now = rate(amount, capacity), 0, 1000
    admitted: list[int] = []
    for step in steps:
        now += step
        new, _ = admit(tat, limit, now)
        if new is not None:
            tat = new
            admitted.append(now)
    for first in admitted:
        assert sum(first <= each < first + 100 for each in admitted) <= capacity + amount


@given(amount=AMOUNTS, capacity=AMOUNTS, steps=STEPS)
def test_the_time_told_is_the_first_that_is_enough(
    amount: int, capacity: int, steps: list[int]
) -> None:
    limit, tat, now = rate(amount, capacity), 0, 1000
    for step in steps:
        now += step // 4
        left = remaining(tat, limit, now)
        new, wait = admit(tat, limit, now)
        assert (new is not None) is (left > 0)
        if new is None:
            assert wait > 0
            assert admit(tat, limit, now + wait - 1)[0] is None
            assert admit(tat, limit, now + wait)[0] is not None
        else:
            assert wait == 0
            assert remaining(new, limit, now) == left - 1
            tat = new


@given(amount=AMOUNTS, capacity=AMOUNTS, tat=st.integers(0, 100_000), now=st.integers(0, 1000))
def test_after_a_clock_was_put_back_nobody_waits_longer_than_one_interval(
    amount: int, capacity: int, tat: int, now: int
) -> None:
    limit = rate(amount, capacity)
    assert admit(tat, limit, now)[1] <= limit.interval
    assert 0 <= remaining(tat, limit, now) <= capacity


@given(tat=st.integers(0, 1000), now=st.integers(0, 1000))
def test_0_blocks_and_waiting_does_not_help(tat: int, now: int) -> None:
    assert admit(tat, rate(0, 0), now) == (None, NEVER)
    assert remaining(tat, rate(0, 0), now) == 0
