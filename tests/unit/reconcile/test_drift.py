"""What is told of a difference, and the rule by which it is corrected."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from pdp.reconcile.drift import Drift, Spool, corrections, drifts_of, why_above, why_below
from pdp.reconcile.sums import Place, Sums
from pdp.reconcile.told import Size, packed, told_in, told_of

NOW = 1_000
WELL = Spool("s1", shipped_at_first=90, shipped=110, counted=100, heard=NOW - 10)
PLACE = Place("root", "day", 86_400)


def drifts(difference: Sums, above: str = "", below: str = "") -> Sequence[Drift]:
    counted = {PLACE: Sums(100, 100, 100, 100, 100)}
    return drifts_of({PLACE: difference}, counted, above, below)


def test_each_sum_is_told_with_its_limit_and_unit() -> None:
    found = drifts(Sums(1, -2, 3, -4, 0), above="up", below="down")
    told = [(d.what, d.limit, d.unit, d.ledger, d.counter, d.difference, d.cause) for d in found]
    assert told == [
        ("spent", "budget_limits.daily", "nano_usd", 99, 100, 1, "up"),
        ("held", "budget_limits.daily", "nano_usd", 102, 100, -2, "down"),
        ("tokens_spent", "token_limits.daily", "tokens", 97, 100, 3, "up"),
        ("tokens_held", "token_limits.daily", "tokens", 104, 100, -4, "down"),
    ]
    assert drifts(Sums(requests=1))[0].limit == "max_requests"


def test_below_is_raised_above_is_lowered_unless_it_is_explained() -> None:
    difference = Sums(spent=5, held=-7)
    assert corrections(drifts(difference)) == {PLACE: Sums(spent=-5, held=7)}
    assert corrections(drifts(difference, "why", "why")) == {PLACE: Sums(held=7)}


@pytest.mark.parametrize(
    ("spool", "words"),
    [
        (replace(WELL, counted=111), "the ledger lacks records of spool s1 from 110 on"),
        (replace(WELL, heard=NOW - 11), "the data plane of spool s1 has been silent for 11 s"),
        (replace(WELL, counted=None, heard=NOW - 60), "silent for 60 s"),
        (replace(WELL, counted=111, heard=None), "lacks records"),
    ],
)
def test_who_may_have_what_the_ledger_lacks_explains_a_counter_above_it(
    spool: Spool, words: str
) -> None:
    assert words in why_above([WELL, spool], NOW)


def test_who_lives_and_has_shipped_explains_nothing_nor_who_has_taken_leave() -> None:
    gone = replace(WELL, heard=None)
    assert why_above([WELL, gone, replace(WELL, counted=None)], NOW) == ""
    assert why_below([WELL, gone, replace(WELL, counted=None, shipped_at_first=500)]) == ""


def test_who_ships_and_is_cut_off_from_redis_is_named() -> None:
    found = why_below([WELL, replace(WELL, shipped_at_first=101)])
    assert found == "spool s1 is not counted from record 100 on"


def test_metrics_hear_of_what_nothing_explains() -> None:
    found = [*drifts(Sums(5, -7)), *drifts(Sums(spent=900), above="why"), *drifts(Sums(held=-3))]
    told = told_of(found, 12)
    assert told.numbers == {"above": 1, "below": 2}
    assert Size("nano_usd", "below", 7) in told.sizes
    assert Size("nano_usd", "above", 5) in told.sizes
    assert Size("tokens", "above", 0) in told.sizes
    assert told_in(packed(told)) == told
    assert told_in(None) is None
    assert told_in(b'{"at": "of another version"}') is None
