"""The limits of a chain, in the order in which a reservation asks them."""

from collections.abc import Sequence

from msgspec import Struct

from pdp.quota.limit import Limit, Rate
from pdp.quota.scope import Scope


class Plan(Struct, frozen=True):
    """The limits of a chain by kind, leaf first, each with the place of its scope in the chain."""

    scopes: tuple[Scope, ...]
    per_request: tuple[Limit, ...]
    budgets: tuple[tuple[int, Limit], ...]
    tokens: tuple[tuple[int, Limit], ...]
    requests: tuple[tuple[int, Limit], ...]
    rates: tuple[tuple[int, Rate], ...]


def plan_of(scopes: Sequence[Scope]) -> Plan:
    """Return the plan of a chain, leaf first."""
    places = tuple(enumerate(scopes))
    return Plan(
        scopes=tuple(scopes),
        per_request=tuple(limit for scope in scopes for limit in scope.per_request),
        budgets=tuple((place, limit) for place, scope in places for limit in scope.budgets),
        tokens=tuple((place, limit) for place, scope in places for limit in scope.tokens),
        requests=tuple((place, limit) for place, scope in places for limit in scope.requests),
        rates=tuple((place, rate) for place, scope in places for rate in scope.rates),
    )
