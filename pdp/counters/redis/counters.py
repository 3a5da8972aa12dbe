"""The `Counters` of any number of data planes: in Redis, exact.

Each op is done by one script, whole or not at all; under the id of its reservation it moves
once, however often it is sent. What has been spooled and could not be counted is counted from
the spool (`roots.py`), so a report is taken while Redis is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final, Literal

from pdp.counters.account import Account
from pdp.counters.admission import limit_status, rate_status
from pdp.counters.redis import answers, asks
from pdp.counters.redis.alone import Alone
from pdp.counters.redis.away import Away
from pdp.counters.redis.lane import Lane
from pdp.counters.redis.layout import root_of
from pdp.counters.redis.roots import Roots
from pdp.counters.redis.verdicts import verdict_of
from pdp.counters.redis.view import View
from pdp.model import LimitStatus
from pdp.quota.hold import (
    Absent,
    Admitted,
    Hold,
    Open,
    Outcome,
    Refused,
    Reserve,
    Settlement,
    Verdict,
    too_large,
)
from pdp.quota.scope import Scope

_PATIENCE: Final = 5
"""Seconds that a hold of another data plane is over before it is taken for an orphan."""

_LEASE: Final = 30
"""Seconds in which whoever has claimed a hold is to expire it."""

_ABSENT: Final[dict[bytes, Absent]] = {b"settled": "settled", b"unknown": "unknown", b"new": "new"}

RootOfKey = Callable[[str], str | Awaitable[str]]
"""Returns the root of a key by its id, empty if there is no such key. Raises `Unavailable`."""


class RedisCounters:
    """Counts in Redis. `own_clock`: the time is the caller's, not Redis' (for tests)."""

    def __init__(
        self, roots: Roots, root_of_key: RootOfKey, alone: Alone, *, own_clock: bool = False
    ) -> None:
        self._roots = roots
        self._root_of_key = root_of_key
        self._alone = alone
        self._own_clock = own_clock
        self._reservations = asks.Reservations()
        self._view = View()
        self._serial = count(1)
        self.planes = 1
        """How many data planes share the rates while Redis is away."""

    # -- Check

    def find_open(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request while Redis is away; else `reserve` finds it."""
        if not self._roots.is_cut_off:
            return None
        hold = self._roots.own.find("", key_id, request_id)
        if hold is not None:
            self._roots.own.give(hold)
        return hold

    async def recall(
        self, key_id: str, request_id: str, scopes: Sequence[Scope], now: int
    ) -> Hold | None:
        """Bring last-known spend up to date; return the live hold of the request."""
        root, to = scopes[-1].key_id, str(next(self._serial))
        asked = asks.find_open(key_id, request_id, to)
        try:
            asking = self._roots.ask(root, asked, self._time(now))
            _, (found, _) = await asyncio.gather(self._look(root, scopes, now), asking)
        except Away:
            return None
        if not request_id or not found:
            return None
        hold = answers.hold_of(*found)
        self._roots.own.give(hold, to)
        return hold

    async def reserve(self, op: Reserve) -> Verdict:
        """Admit and hold, or refuse and move nothing."""
        hold = op.hold
        root = asks.key_of(hold.windows)
        self._view.moved()
        is_large = too_large(op.plan, hold.tokens) is not None
        asked = self._reservations.reserve(op, too_large=is_large)
        try:
            answer, now = await self._roots.ask(root, asked, self._time(op.now))
        except Away as why:
            return self._decide_alone(op, root, why)
        except BaseException:
            # Nobody waits any more, so nobody will write it down.
            self._take_back(op, root)
            raise
        if answer[0] == b"w":
            # Others have yet to say what they hold: what needs no counter need not wait.
            return self._decide_alone(op, root, Away("the counters are being opened: try again"))
        self._view.see(op, answer)
        verdict = verdict_of(op, answer, now)
        if isinstance(verdict, Refused):
            accounts = answers.accounts_of(hold.windows, op.plan, answer[1])
            self._view.know_refused(op, accounts, now)
        if isinstance(verdict, Open):
            # For that one, too, this data plane can answer now, should its maker be gone.
            self._roots.own.give(verdict.hold, hold.reservation_id)
        elif isinstance(verdict, Admitted) and not op.dry_run:
            self._roots.own.add(verdict.hold)
            if verdict.rates:
                self._alone.know(verdict.rates)
        return verdict

    def _decide_alone(self, op: Reserve, root: str, why: Away) -> Verdict:
        is_allowed = False
        try:
            verdict = self._alone.decide(op, self.planes, why)
            is_allowed = isinstance(verdict, Admitted)
        finally:
            if not is_allowed and why.maybe_done:
                self._take_back(op, root)
        if is_allowed and not op.dry_run:
            # Its record is counted from the spool once Redis is back.
            self._roots.own.add(op.hold)
            self._roots.owe(root)
        return verdict

    def _take_back(self, op: Reserve, root: str) -> None:
        if not op.dry_run:
            self._roots.taken_back[op.hold.reservation_id] = root, asks.cancel(op.hold)

    async def withdraw(self, reservation_id: str) -> Hold | None:
        """Note that one who relied on a hold is gone; return it if that was the last.

        Raises `Away` where nobody can tell: ask again.
        """
        given = self._roots.own.give_up(reservation_id)
        if given is None:
            return None
        asked = asks.withdraw(reservation_id, given)
        found, _ = await self._roots.ask(root_of(reservation_id), asked)
        if found == b"given":
            raise Away("a retry of the request is being answered: ask again")
        if isinstance(found, list):
            return answers.hold_of(*found)
        self._roots.own.drop(reservation_id)
        return None

    # -- Report

    async def locate(
        self, reservation_id: str, key_id: str, request_id: str, now: int
    ) -> Hold | Absent:
        """Return the hold that a report settles, or why there is none."""
        root = root_of(reservation_id)
        if not root:
            if reservation_id:
                return "unknown"
            found = self._root_of_key(key_id)
            root = found if isinstance(found, str) else await found
            if not root:
                return "new"
        asked = asks.locate(reservation_id, key_id, request_id)
        try:
            answer, _ = await self._roots.ask(root, asked, self._time(now))
        except Away:
            own = self._roots.own.find(reservation_id, key_id, request_id)
            if own is None:
                raise
            return own
        return answers.hold_of(*answer) if isinstance(answer, list) else _ABSENT[answer]

    async def settle(self, op: Settlement) -> bool | Outcome:
        """Settle; False, or what was charged then, if somebody settled it before.

        Without Redis it is counted later.
        """
        root = asks.key_of(op.windows)
        self._view.moved()
        self._roots.own.drop(op.reservation_id)
        counted_elsewhere = not self._roots.counts(root)
        try:
            answer, _ = await self._roots.ask(root, asks.settle(op), self._time(op.now))
        except Away:
            self._roots.owe(root)
            return True
        except BaseException:
            # Nobody waits any more, but it is in the spool; maybe it was never sent.
            self._roots.owe(root)
            raise
        # To join the root may have counted it, from its record.
        return answers.settled_of(answer) or counted_elsewhere

    async def extend(self, reservation_id: str, expires_at: int) -> bool:
        """Let a live hold end later, never earlier; False if there is none."""
        root, own = root_of(reservation_id), self._roots.own
        if not root:
            return own.extend(reservation_id, expires_at)
        try:
            answer, _ = await self._roots.ask(root, asks.extend(reservation_id, expires_at))
        except Away:
            self._roots.owe(root)
            return own.extend(reservation_id, expires_at)
        if answer:
            own.extend(reservation_id, expires_at)
        return bool(answer)

    async def due(self, now: int, most: int = 1000) -> Sequence[Hold]:
        """Claim up to `most` live holds whose time is over; those of the dead, too."""
        asked = asks.due(now, most, _PATIENCE, _LEASE)
        found: list[Hold] = []

        async def claim(lane: Lane) -> None:
            if len(found) < most:
                with suppress(Away):
                    answer, _ = await self._roots.ask(lane.root, asked, self._time(now))
                    found.extend(answers.hold_of(*each) for each in answer)

        await self._roots.each(claim)
        if self._own_clock:
            found = [hold for hold in found if hold.expires_at <= now]
        return sorted(found, key=lambda hold: (hold.expires_at, hold.reservation_id))[:most]

    # -- Look

    def spent(
        self, scope: Scope, period: Literal["day", "month", "total"], now: int
    ) -> tuple[int, int]:
        """Return (spent, held) of the current window, as last known."""
        return self._view.spent(scope, period, now)

    async def _look(self, root: str, scopes: Sequence[Scope], now: int) -> None:
        states, at = await self._roots.ask(root, asks.look(scopes, now), self._time(now))
        for scope, state in zip(scopes, states, strict=True):
            self._view.know(scope, answers.account_at(scope, now, state), now, at)

    def status(
        self, scopes: Sequence[Scope], now: int
    ) -> tuple[LimitStatus, ...] | Awaitable[tuple[LimitStatus, ...]]:
        """Return every limit and rate as it stands, leaf first; none while Redis is away."""
        known = self._view.accounts(scopes, now)
        return self._status(scopes, now) if known is None else _status_of(scopes, known, now)

    async def _status(self, scopes: Sequence[Scope], now: int) -> tuple[LimitStatus, ...]:
        try:
            await self._look(scopes[-1].key_id, scopes, now)
        except Away:
            return ()
        known = self._view.accounts(scopes, now)
        return () if known is None else _status_of(scopes, known, now)

    def _time(self, now: int) -> int:
        return now if self._own_clock else 0


def _status_of(
    scopes: Sequence[Scope], known: Sequence[tuple[Account, int]], now: int
) -> tuple[LimitStatus, ...]:
    found: list[LimitStatus] = []
    for scope, (account, at) in zip(scopes, known, strict=True):
        limits = (*scope.per_request, *scope.budgets, *scope.tokens, *scope.requests)
        found += [limit_status(scope, limit, account, now) for limit in limits]
        found += [rate_status(rate, account.tats.get(rate.slot, 0), at) for rate in scope.rates]
    return tuple(found)
