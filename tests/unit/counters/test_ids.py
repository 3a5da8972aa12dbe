"""Ids: unique, and recognized without being remembered."""

from itertools import pairwise

import pytest

from pdp.ids import IdSource, Issued


def test_ids_are_unique_and_ascend() -> None:
    source = IdSource("boot")
    made = [source() for _ in range(5000)]
    assert len(set(made)) == 5000
    numbers = [int(each.removeprefix("boot-"), 36) for each in made]
    assert all(first < second for first, second in pairwise(numbers))


def test_what_was_noted_was_issued_and_what_follows_was_not() -> None:
    first, second, issued = IdSource("one"), IdSource("two"), Issued()
    ones = [first() for _ in range(10)]
    twos = [second() for _ in range(10)]
    for made in (ones[0], ones[5], twos[5]):
        issued.note(made, 1)
    assert [issued.issued(each) for each in ones] == [True] * 6 + [False] * 4
    assert [issued.issued(each) for each in twos] == [True] * 6 + [False] * 4


def test_late_notes_take_nothing_back() -> None:
    source, issued = IdSource("one"), Issued()
    made = [source() for _ in range(10)]
    issued.note(made[8], 1)
    issued.note_late(made[3], 2)
    issued.note_late("zero-5", 3)
    assert issued.issued(made[8])
    assert issued.issued("zero-5")
    issued.note(made[9], 4)
    assert issued.issued(made[9])


@pytest.mark.parametrize(
    "text", ["", "-", "one", "one-", "one--1", "one-é", "one-" + "1" * 14, "x-1"]
)
def test_other_text_was_never_issued(text: str) -> None:
    issued = Issued()
    issued.note("one-zzzz", 1)
    assert not issued.issued(text)


def test_boots_outlive_a_restart_and_are_forgotten_at_last() -> None:
    issued = Issued()
    issued.note("one-5", 10)
    issued.note("two-5", 20)
    again = Issued(issued.boots())
    assert again.issued("one-5")
    again.forget(before=20)
    assert not again.issued("one-5")
    assert again.issued("two-5")
