"""What may be corrected with nobody there: what stands from one comparison to the next. Pure."""

from pdp.reconcile.drift import What
from pdp.reconcile.reconciler import Outcome
from pdp.reconcile.sums import Place

_Found = frozenset[tuple[Place, What, int]]


class Unattended:
    """Remembers, by organization, what differed when it was last compared."""

    def __init__(self) -> None:
        self._before: dict[str, _Found] = {}

    def is_sure(self, outcome: Outcome) -> bool:
        """Tell whether what differs may be corrected, and remember it.

        It is the same as last time, to the last of it; nothing moves; and no data plane may
        have records that explain any of it, nor is to count what it has: that would be raised
        now and counted again when it comes.
        """
        found = frozenset(
            (Place(each.key_id, each.period, each.start), each.what, each.difference)
            for each in outcome.drifts
        )
        before = self._before.get(outcome.organization_id)
        self._before[outcome.organization_id] = found
        is_explained = any(each.cause for each in outcome.drifts)
        return found == before and not outcome.moving and not is_explained
