"""No sequence of calls gives a caller a decision that its own chains refuse."""

from collections.abc import Iterator

import pytest
from hypothesis import given

from tests.examples import tries
from tests.property.control.thief import Call, Play, World, playing, sequences, worlds
from tests.property.control.weakness import WEAKNESSES, WITNESSES, weaken
from tests.store import Store

EXAMPLES = 30
"""`make escalate` plays more."""


@pytest.fixture(scope="module")
def play(sqlite_store: Store) -> Iterator[Play]:
    with playing(sqlite_store) as played:
        yield played


@tries(EXAMPLES)
@given(worlds(), sequences())
def test_no_sequence_of_calls_gives_a_caller_more_than_it_has(
    play: Play, world: World, asked_for: list[Call]
) -> None:
    play(world, asked_for)


@pytest.mark.parametrize("weakness", list(WEAKNESSES))
def test_it_notices_each_check_that_is_missing(
    play: Play, weakness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, asked_for = WITNESSES[weakness]
    play(world, asked_for)
    weaken(weakness, monkeypatch)
    with pytest.raises(AssertionError):
        play(world, asked_for)
