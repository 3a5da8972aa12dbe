"""Names: which root a reservation is of, and what Redis calls the counters of a root.

All keys of an organization hang below one root key, and every chain ends there. Its counters
share the hash tag `{ROOT}`, so that a Redis Cluster keeps them on one node and one script
reaches all of them. A reservation carries its root, so that a report finds it anywhere.
"""

from typing import Final

ROOTS: Final = "pdp:roots"
"""Set of the roots that were ever counted here."""

PLANES: Final = "pdp:planes"
"""Sorted set of the data planes by the second in which each was last heard of."""

DRIFT: Final = "pdp:drift"
"""What the last comparison with the ledger has found: JSON of `pdp.reconcile.told.Told`."""

_SEPARATOR: Final = "."
"""Before the root in a reservation's id: `Engine` puts it there."""


def prefix_of(root: str) -> str:
    """Return what every name of a root begins with."""
    return f"pdp:{{{root}}}:"


def root_of(reservation_id: str) -> str:
    """Return the root of a reservation, empty if its id has none."""
    return reservation_id.partition(_SEPARATOR)[2]
