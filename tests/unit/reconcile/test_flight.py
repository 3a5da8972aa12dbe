"""What is on its way from the counters to the ledger."""

from pdp.quota.hold import Window
from pdp.reconcile.flight import Flight, Move
from pdp.reconcile.sums import Entry, Place, Sums, at_places, differences

DAY, MONTH = 86_400, 0
WINDOWS = (Window("leaf", DAY, MONTH), Window("root", DAY, MONTH))
HELD, SPENT = Sums(held=5, tokens_held=50, requests=1), Sums(3, 0, 30, 0, 1)


def move(sums: Sums, name: str = "dec_1") -> Move:
    return Move(name, "leaf", "r1", WINDOWS, sums)


def test_a_request_that_the_ledger_has_not_heard_of_is_in_flight_as_a_whole() -> None:
    flight = Flight()
    flight.note([move(HELD)])
    found = flight.land({})
    assert found[Place("leaf", "total", 0)] == HELD
    assert found[Place("root", "day", DAY)] == HELD._replace(requests=0)
    assert len(found) == 6


def test_of_one_that_is_held_there_and_settled_here_the_difference_is() -> None:
    flight = Flight()
    flight.note([move(HELD), move(SPENT)])
    found = flight.land({"dec_1": Entry("pending", HELD)})
    assert found[Place("root", "total", 0)] == Sums(3, -5, 30, -50, 0)
    assert flight.names == ["dec_1"]


def test_who_has_landed_is_not_looked_up_again_until_it_moves_again() -> None:
    flight = Flight()
    flight.note([move(HELD), move(SPENT, "dec_2")])
    assert not flight.land({"dec_1": Entry("pending", HELD), "dec_2": Entry("success", SPENT)})
    assert flight.names == []
    flight.note([move(SPENT)])
    assert flight.land({"dec_1": Entry("pending", HELD)})


def test_one_that_was_taken_back_counts_nothing_on_either_side() -> None:
    flight = Flight()
    flight.note([move(HELD), move(Sums())])
    assert not flight.land({})
    assert flight.names == []


def test_a_usage_without_a_check_is_known_by_key_and_request() -> None:
    flight = Flight()
    flight.note([move(SPENT, "")])
    assert flight.names == [("leaf", "r1")]
    assert not flight.land({("leaf", "r1"): Entry("success", SPENT)})


def test_what_is_in_flight_explains_a_difference_and_nothing_else_does() -> None:
    root, leaf = Place("root", "total", 0), Place("leaf", "total", 0)
    counted = {root: Sums(spent=103), leaf: Sums(spent=3)}
    ledger = {root: Sums(spent=90)}
    flight = {root: Sums(spent=3), leaf: Sums(spent=3)}
    assert differences([root, leaf], counted, ledger, flight) == {root: Sums(spent=10)}
    assert differences([leaf], {}, {leaf: Sums(held=1)}, {}) == {leaf: Sums(held=-1)}


def test_requests_are_counted_for_all_time_only() -> None:
    found = at_places({WINDOWS[:1]: Sums(requests=2)})
    assert {place.period: sums.requests for place, sums in found.items()} == {
        "day": 0,
        "month": 0,
        "total": 2,
    }
