"""What is corrected with nobody there: what stands, and nothing else."""

import pytest
from msgspec.structs import replace

from pdp.reconcile.drift import Drift
from pdp.reconcile.reconciler import Outcome
from pdp.reconcile.unattended import Unattended

DRIFT = Drift("root", "total", 0, "spent", "nano_usd", "budget_limits.total", 100, 105)
FOUND = Outcome("org", "root", "compared", [DRIFT])
CLEAN = Outcome("org", "root", "compared")


def test_what_was_the_same_last_time_is_corrected() -> None:
    unattended = Unattended()
    assert not unattended.is_sure(FOUND)
    assert not unattended.is_sure(replace(FOUND, organization_id="other")), "each for itself"
    moved_on = replace(DRIFT, ledger=200, counter=205)
    assert unattended.is_sure(replace(FOUND, drifts=[moved_on])), "traffic goes on"


@pytest.mark.parametrize(
    "now",
    [
        replace(FOUND, drifts=[replace(DRIFT, counter=106)]),
        replace(FOUND, drifts=[DRIFT, replace(DRIFT, what="held")]),
        replace(FOUND, drifts=[replace(DRIFT, cause="a spool is not counted")]),
        replace(FOUND, moving=1),
        CLEAN,
    ],
)
def test_what_has_changed_moves_or_is_explained_is_left_alone(now: Outcome) -> None:
    unattended = Unattended()
    unattended.is_sure(FOUND)
    assert not (unattended.is_sure(now) and now.has_drift)


def test_what_was_gone_in_between_is_seen_for_the_first_time_again() -> None:
    unattended = Unattended()
    for outcome in (FOUND, CLEAN, FOUND):
        assert not (unattended.is_sure(outcome) and outcome.has_drift)
