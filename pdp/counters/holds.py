"""The holds that are not settled: live ones, and expired ones that await their correction."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from pdp.quota.hold import Hold

_SECOND: Final = 1_000_000_000


class Charged(Struct, frozen=True, array_like=True, gc=False):
    """A hold that expired at `at` (ns) and was charged `cost` (nano-USD) and `tokens`."""

    hold: Hold
    cost: int
    tokens: int
    at: int


class Holds:
    """Holds by their id and by (key_id, request_id), and when they end.

    Of two holds of one request the later one is found by the request; both are found by
    their ids. `give` and `give_up` count who relies on one beside the first. At most
    `most_expired` expired ones are kept, about 1 kB each; beyond that the oldest can no
    longer be corrected.
    """

    __slots__ = ("_by_request", "_ends", "_given", "_most_expired", "expired", "live")

    def __init__(self, most_expired: int) -> None:
        self.live: dict[str, Hold] = {}
        self.expired: OrderedDict[str, Charged] = OrderedDict()
        self._by_request: dict[tuple[str, str], str] = {}
        # Ids by the second in which they end: settling takes the entry away, where
        # a heap would keep it until that second.
        self._ends: dict[int, dict[str, None]] = {}
        self._given: dict[str, int] = {}
        self._most_expired = most_expired

    def add(self, hold: Hold) -> None:
        """Add a live hold."""
        reservation_id = hold.reservation_id
        self.live[reservation_id] = hold
        self._by_request[hold.key_id, hold.request_id] = reservation_id
        self._schedule(hold)

    def of_request(self, key_id: str, request_id: str) -> str:
        """Return the id of the hold, live or expired, of a request; empty if there is none."""
        return self._by_request.get((key_id, request_id), "")

    def live_of(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request."""
        return self.live.get(self._by_request.get((key_id, request_id), ""))

    def give(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request to one more who relies on it."""
        hold = self.live_of(key_id, request_id)
        if hold is not None:
            given = self._given
            given[hold.reservation_id] = given.get(hold.reservation_id, 0) + 1
        return hold

    def give_up(self, reservation_id: str) -> Hold | None:
        """Note that one who relied on a hold is gone; return it if that was the last."""
        others = self._given.pop(reservation_id, 0)
        if others > 1:
            self._given[reservation_id] = others - 1
        return None if others else self.live.get(reservation_id)

    def find(self, reservation_id: str, after: int = 0) -> Hold | None:
        """Return a hold, live, or expired after `after` (ns)."""
        hold = self.live.get(reservation_id)
        if hold is not None:
            return hold
        charged = self.expired.get(reservation_id)
        return charged.hold if charged is not None and charged.at > after else None

    def take(self, reservation_id: str) -> Hold | None:
        """Remove a live hold that is settled and return it."""
        hold = self.live.pop(reservation_id, None)
        if hold is not None:
            self._given.pop(reservation_id, None)
            self._unschedule(hold)
            self._forget_request(hold)
        return hold

    def take_expired(self, reservation_id: str, after: int = 0) -> Charged | None:
        """Remove an expired hold that is corrected and return it.

        One that expired at `after` (ns) or before is as good as forgotten, whether or
        not somebody has cleared it away yet.
        """
        charged = self.expired.get(reservation_id)
        if charged is None or charged.at <= after:
            return None
        del self.expired[reservation_id]
        self._forget_request(charged.hold)
        return charged

    def expire(self, charged: Charged) -> None:
        """Keep a hold that ran out for its correction; it is live no more."""
        hold = charged.hold
        if self.live.pop(hold.reservation_id, None) is not None:
            self._given.pop(hold.reservation_id, None)
            self._unschedule(hold)
        else:
            self._by_request.setdefault((hold.key_id, hold.request_id), hold.reservation_id)
        self.expired[hold.reservation_id] = charged
        if len(self.expired) > self._most_expired:
            self.take_expired(next(iter(self.expired)))

    def extend(self, reservation_id: str, expires_at: int) -> bool:
        """Let a live hold end later, never earlier; False if there is none."""
        hold = self.live.get(reservation_id)
        if hold is None:
            return False
        if expires_at > hold.expires_at:
            self._unschedule(hold)
            self.live[reservation_id] = hold = replace(hold, expires_at=expires_at)
            self._schedule(hold)
        return True

    def due(self, now: int, most: int) -> list[Hold]:
        """Return up to `most` live holds that end at `now` (ns) or before.

        Those of an earlier second come first, within one those that were added first.
        """
        second = now // _SECOND
        found: list[Hold] = []
        for ending in sorted(key for key in self._ends if key <= second):
            holds = map(self.live.__getitem__, self._ends[ending])
            found += islice((hold for hold in holds if hold.expires_at <= now), most - len(found))
            if len(found) >= most:
                break
        return found

    def prune(self, before: int) -> None:
        """Forget holds that expired before `before` (ns)."""
        while self.expired:
            reservation_id, charged = next(iter(self.expired.items()))
            if charged.at >= before:
                return
            self.take_expired(reservation_id)

    def found_by_request(self) -> list[str]:
        """Return the ids of the holds that are found by their request."""
        return list(self._by_request.values())

    def restore(
        self, live: Iterable[Hold], expired: Iterable[Charged], found_by_request: Iterable[str]
    ) -> None:
        """Put back what was there, in order."""
        for charged in expired:
            self.expire(charged)
        for hold in live:
            self.add(hold)
        self._by_request = {}
        for reservation_id in found_by_request:
            found = self.find(reservation_id)
            if found is not None:
                self._by_request[found.key_id, found.request_id] = reservation_id

    def _schedule(self, hold: Hold) -> None:
        second = hold.expires_at // _SECOND
        ending = self._ends.get(second)
        if ending is None:
            ending = self._ends[second] = {}
        ending[hold.reservation_id] = None

    def _unschedule(self, hold: Hold) -> None:
        second = hold.expires_at // _SECOND
        ending = self._ends[second]
        del ending[hold.reservation_id]
        if not ending:
            del self._ends[second]

    def _forget_request(self, hold: Hold) -> None:
        request = (hold.key_id, hold.request_id)
        if self._by_request.get(request) == hold.reservation_id:
            del self._by_request[request]
