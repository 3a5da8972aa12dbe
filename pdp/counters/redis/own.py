"""The live holds that this data plane made: what it can answer for while Redis is away."""

from collections.abc import Iterable

from msgspec.structs import replace

from pdp.counters.redis.asks import key_of
from pdp.quota.hold import Hold


class OwnHolds:
    """By id and by (key_id, request_id). Another data plane may have settled one meanwhile."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        self._holds: dict[str, Hold] = {}
        self._by_request: dict[tuple[str, str], str] = {}
        self._given: dict[str, int] = {}
        self._told: dict[str, list[str]] = {}
        for hold in holds:
            self.add(hold)

    def add(self, hold: Hold) -> None:
        """Add a hold that was made; the answer to a retry may have come before that one."""
        self.give(hold)

    def give(self, hold: Hold, to: str = "") -> None:
        """Note that a retry of its request was given a hold, whoever made it.

        `to` is the name under which Redis has noted that, empty if it does not know.
        """
        known = hold.reservation_id
        if known in self._holds:
            self._given[known] = self._given.get(known, 0) + 1
        self._holds[known] = hold
        self._by_request[hold.key_id, hold.request_id] = known
        if to:
            self._told.setdefault(known, []).append(to)

    def give_up(self, reservation_id: str) -> list[str] | None:
        """Note that one who relied on a hold is gone; None if others of ours do.

        Else return the names of all that it was given to.
        """
        others = self._given.pop(reservation_id, 0)
        if others > 1:
            self._given[reservation_id] = others - 1
        return None if others else self._told.get(reservation_id, [])

    def find(self, reservation_id: str, key_id: str, request_id: str) -> Hold | None:
        """Return a hold by its id, else by its request."""
        return self._holds.get(reservation_id or self._by_request.get((key_id, request_id), ""))

    def drop(self, reservation_id: str) -> None:
        """Forget a hold that is settled."""
        hold = self._holds.pop(reservation_id, None)
        if hold is not None:
            self._given.pop(reservation_id, None)
            self._told.pop(reservation_id, None)
            request = hold.key_id, hold.request_id
            if self._by_request.get(request) == reservation_id:
                del self._by_request[request]

    def extend(self, reservation_id: str, expires_at: int) -> bool:
        """Let a hold end later; False if there is none."""
        hold = self._holds.get(reservation_id)
        if hold is None:
            return False
        if expires_at > hold.expires_at:
            self._holds[reservation_id] = replace(hold, expires_at=expires_at)
        return True

    def of_root(self, root: str) -> list[Hold]:
        """Return the holds below a root."""
        return [hold for hold in self._holds.values() if key_of(hold.windows) == root]

    def overdue(self, before: int, most: int) -> list[Hold]:
        """Return holds that should have ended before `before` (ns)."""
        found = (hold for hold in self._holds.values() if hold.expires_at < before)
        return [hold for hold, _ in zip(found, range(most), strict=False)]

    def roots(self) -> set[str]:
        """Return the roots of all."""
        return {key_of(hold.windows) for hold in self._holds.values()}
