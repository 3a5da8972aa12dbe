"""Counters in the memory of the one data-plane process: exact, and without waiting.

Every change of state is one call without an await in it, so no two interleave.
Each is also a spool record; `apply` repeats it from there, and live and replayed
state are the same (tests/property/counters). Times in ns, money in nano-USD.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from pdp.counters.account import Account, Bucket, Total
from pdp.counters.admission import (
    Tats,
    limit_status,
    over_budget,
    over_rate,
    over_requests,
    over_tokens,
    rate_status,
)
from pdp.counters.holds import Charged, Holds
from pdp.counters.seen import MemorySeen, Seen
from pdp.ids import Issued
from pdp.model import LimitStatus
from pdp.quota.hold import (
    Absent,
    Admitted,
    GuardFailed,
    Hold,
    Refused,
    Reserve,
    Settlement,
    Verdict,
    Window,
    too_large,
)
from pdp.quota.money import MOST_SUM
from pdp.quota.scope import Scope
from pdp.records import Expired, Extended, Held, Record, Settled

EXPIRED_KEPT: Final = 49 * 3600 * 1_000_000_000
"""How long an expired hold awaits its correction; 48 hours are promised."""

BOOTS_KEPT: Final = 30 * 86400 * 1_000_000_000
"""How long the ids of an earlier start are told from ids that were never issued."""


class _State(Struct, array_like=True):
    """What a checkpoint holds."""

    accounts: list[Account]
    live: list[Hold]
    expired: list[Charged]
    found_by_request: list[str]
    boots: dict[str, tuple[int, int]]


def _values_of(bucket: Any) -> tuple[int, ...]:
    assert isinstance(bucket, Bucket), bucket
    return bucket.values()


def _bucket_of(kind: type[Bucket], values: Any) -> Bucket:
    return kind(*msgspec.convert(values, tuple[int, ...]))


_encoder = msgspec.msgpack.Encoder(enc_hook=_values_of)
_decoder = msgspec.msgpack.Decoder(_State, dec_hook=_bucket_of)


class MemoryCounters:
    """The `Counters` of a single process. `seen` remembers settled requests.

    A reserve under a `reservation_id` that is live already moves nothing and
    answers with that hold. Two holds of one (key_id, request_id) are two holds:
    both count, and the later one is found by the request.

    No account is ever forgotten. One may be only when the control plane says that its key
    is gone for good (revoked, and all below it, with nothing held): until then its total
    is what `total` budgets and `max_requests` compare, an expired key may be given a new
    end, and to count from zero again would break NO-OVERSPEND. The counters cannot tell.
    """

    def __init__(self, seen: Seen | None = None, *, most_expired: int = 250_000) -> None:
        self.seen: Seen = seen if seen is not None else MemorySeen()
        self._accounts: dict[str, Account] = {}
        self._holds = Holds(most_expired)
        self._issued = Issued()

    # -- Check

    def find_open(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request."""
        return self._holds.give(key_id, request_id)

    def recall(self, key_id: str, request_id: str, scopes: Sequence[Scope], now: int) -> None:
        """Return None: `find_open` has told, and spend is known."""

    def reserve(self, op: Reserve) -> Verdict:
        """Admit and hold, or refuse and move nothing."""
        hold, now = op.hold, op.now
        if hold.reservation_id in self._holds.live:
            return Admitted(self._holds.live[hold.reservation_id])
        if op.guards and (failed := self._failed_guard(op)):
            return failed
        plan = op.plan
        accounts = self._accounts_of(hold.windows)
        refused = too_large(plan, hold.tokens) or over_budget(plan, accounts, hold.cost or 0, now)
        if refused is not None:
            return refused
        tokens = over_tokens(plan, accounts, hold.tokens, now) if plan.tokens else None
        if isinstance(tokens, Refused):
            return tokens
        requests = over_requests(plan, accounts) if plan.requests else None
        if isinstance(requests, Refused):
            return requests
        moves: Tats = ()
        if plan.rates:
            rates = over_rate(plan, accounts, now)
            if isinstance(rates, Refused):
                return rates
            moves, rate = rates
            if requests is None or (rate and rate.remaining < requests.remaining):
                requests = rate
        if not op.dry_run:
            self._hold(hold, accounts, moves)
        return Admitted(hold, moves, requests, tokens)

    def _failed_guard(self, op: Reserve) -> GuardFailed | None:
        for guard in op.guards:
            spend = sum(self.spent(op.scope_of[guard.key_id], guard.period, op.now))
            if (spend < guard.amount) is not guard.under:
                return GuardFailed(guard)
        return None

    def _accounts_of(self, windows: Sequence[Window]) -> list[Account]:
        known = self._accounts
        found = []
        for window in windows:
            account = known.get(window.key_id)
            if account is None:
                account = known[window.key_id] = Account(
                    window.key_id, Bucket(window.day), Bucket(window.month), Total(), {}
                )
            elif account.day.start != window.day or account.month.start != window.month:
                account = account.at(window.day, window.month)
            found.append(account)
        return found

    def _hold(
        self, hold: Hold, accounts: Sequence[Account], moves: Sequence[tuple[str, int, int]]
    ) -> None:
        """Put a hold on accounts; nothing here can fail halfway."""
        cost, tokens = hold.cost or 0, hold.tokens
        for account in accounts:
            day, month, total = account.day, account.month, account.total
            day.held += cost
            month.held += cost
            total.held += cost
            day.tokens_held += tokens
            month.tokens_held += tokens
            total.tokens_held += tokens
            total.requests += 1
        for key_id, slot, tat in moves:
            self._accounts[key_id].tats[slot] = tat
        self._holds.add(hold)
        self._issued.note(hold.reservation_id, hold.admitted_at)

    def withdraw(self, reservation_id: str) -> Hold | None:
        """Note that one who relied on a hold is gone; return it if that was the last."""
        return self._holds.give_up(reservation_id)

    # -- Report

    def locate(self, reservation_id: str, key_id: str, request_id: str, now: int) -> Hold | Absent:
        """Return the hold that a report settles, or why there is none."""
        found = reservation_id or self._holds.of_request(key_id, request_id)
        hold = self._holds.find(found, now - EXPIRED_KEPT)
        if hold is not None:
            return hold
        if reservation_id:
            ours = reservation_id.startswith("res_")
            return "settled" if ours and self._issued.issued(reservation_id) else "unknown"
        return "settled" if self.seen.has(key_id, request_id) else "new"

    def settle(self, op: Settlement) -> bool:
        """Settle; False if somebody settled it before and nothing moved."""
        found = op.reservation_id or self._holds.of_request(op.key_id, op.request_id)
        if op.expired:
            return self._expire(found, op.cost, op.tokens, op.now)
        if self._settle_hold(found, op.cost, op.tokens, op.now):
            return True
        if op.reservation_id or self.seen.has(op.key_id, op.request_id):
            return False
        self._charge(op.windows, op.cost, op.tokens)
        self.seen.add(op.key_id, op.request_id, op.now)
        return True

    def _settle_hold(self, reservation_id: str, cost: int, tokens: int, now: int) -> bool:
        """Put what was used in the place of a hold, or of what it was charged when it expired."""
        hold = self._holds.take(reservation_id)
        if hold is not None:
            self._release(hold, cost, tokens)
        else:
            charged = self._holds.take_expired(reservation_id, now - EXPIRED_KEPT)
            if charged is None:
                return False
            hold = charged.hold
            for account in self._accounts_of(hold.windows):
                for bucket in (account.day, account.month, account.total):
                    bucket.spent = min(bucket.spent + cost - charged.cost, MOST_SUM)
                    bucket.tokens_spent += tokens - charged.tokens
        self.seen.add(hold.key_id, hold.request_id, now)
        return True

    def _expire(self, reservation_id: str, cost: int, tokens: int, now: int) -> bool:
        hold = self._holds.live.get(reservation_id)
        if hold is None:
            return False
        self._release(hold, cost, tokens)
        self._holds.expire(Charged(hold, cost, tokens, now))
        self.seen.add(hold.key_id, hold.request_id, now)
        return True

    def _release(self, hold: Hold, cost: int, tokens: int) -> None:
        held, tokens_held = hold.cost or 0, hold.tokens
        for account in self._accounts_of(hold.windows):
            for bucket in (account.day, account.month, account.total):
                spent = bucket.spent + cost
                bucket.spent = spent if spent < MOST_SUM else MOST_SUM
                bucket.held -= held
                bucket.tokens_spent += tokens
                bucket.tokens_held -= tokens_held

    def _charge(self, windows: Sequence[Window], cost: int, tokens: int) -> None:
        """Charge a usage that was never held, and its request."""
        for account in self._accounts_of(windows):
            for bucket in (account.day, account.month, account.total):
                spent = bucket.spent + cost
                bucket.spent = spent if spent < MOST_SUM else MOST_SUM
                bucket.tokens_spent += tokens
            account.total.requests += 1

    def extend(self, reservation_id: str, expires_at: int) -> bool:
        """Let a live hold end later, never earlier; False if there is none."""
        return self._holds.extend(reservation_id, expires_at)

    def due(self, now: int, most: int = 1000) -> Sequence[Hold]:
        """Return up to `most` live holds whose time is over, the earliest first."""
        return self._holds.due(now, most)

    # -- Look

    def spent(
        self, scope: Scope, period: Literal["day", "month", "total"], now: int
    ) -> tuple[int, int]:
        """Return (spent, held) of the current window."""
        account = self._accounts.get(scope.key_id)
        if account is None:
            return 0, 0
        bucket = account.bucket_at(period, scope.calendar, now)
        return bucket.spent, bucket.held

    def status(self, scopes: Sequence[Scope], now: int) -> tuple[LimitStatus, ...]:
        """Return every limit and rate of the scopes as it stands, leaf first."""
        found: list[LimitStatus] = []
        for scope in scopes:
            account = self._accounts.get(scope.key_id)
            limits = (*scope.per_request, *scope.budgets, *scope.tokens, *scope.requests)
            found += [limit_status(scope, limit, account, now) for limit in limits]
            for rate in scope.rates:
                tat = account.tats.get(rate.slot, 0) if account is not None else 0
                found.append(rate_status(rate, tat, now))
        return tuple(found)

    # -- Over restarts

    def apply(self, record: Record) -> None:
        """Do again what a spool record says was done. Records come once each, in order."""
        if isinstance(record, Held):
            if record.hold.reservation_id not in self._holds.live:
                self._hold(record.hold, self._accounts_of(record.hold.windows), record.rates)
        elif isinstance(record, Settled):
            self._apply_settled(record)
        elif isinstance(record, Expired):
            self._apply_expired(record)
        elif isinstance(record, Extended):
            self.extend(record.reservation_id, record.expires_at)

    def _apply_settled(self, record: Settled) -> None:
        facts = record.facts
        cost, tokens = record.cost or 0, record.counted_tokens
        found = record.reservation_id or self._holds.of_request(facts.key_id, facts.request_id)
        if self._settle_hold(found, cost, tokens, record.at):
            return
        # Never checked; or its Held record met a full disk, and this is all that is known.
        self._charge(record.windows, cost, tokens)
        self.seen.add(facts.key_id, facts.request_id, record.at)
        self._note_unheld(record.reservation_id, record.at)

    def _apply_expired(self, record: Expired) -> None:
        if self._expire(record.reservation_id, record.cost, record.tokens, record.at):
            return
        self._charge(record.windows, record.cost, record.tokens)
        hold = Hold(
            reservation_id=record.reservation_id,
            decision_id=record.decision_id,
            key_id=record.key_id,
            request_id=record.request_id,
            fingerprint=0,
            action="",
            model="",
            provider="",
            cost=record.cost,
            input_cost=0,
            tokens=record.tokens,
            prompt_tokens=0,
            windows=record.windows,
            admitted_at=record.at,
            expires_at=record.at,
        )
        self._holds.expire(Charged(hold, record.cost, record.tokens, record.at))
        self.seen.add(record.key_id, record.request_id, record.at)
        self._note_unheld(record.reservation_id, record.at)

    def _note_unheld(self, reservation_id: str, at: int) -> None:
        if reservation_id:
            self._issued.note_late(reservation_id, at)

    @property
    def live(self) -> list[Hold]:
        """The holds that are not settled."""
        return list(self._holds.live.values())

    def forget_ended(self, before: int) -> None:
        """Give holds back that should have ended before `before` (ns).

        Where counters are in Redis another data plane has settled them: its spool says so.
        """
        for hold in self.live:
            if hold.expires_at < before:
                self._holds.take(hold.reservation_id)
                self._release(hold, 0, 0)

    def prune(self, now: int) -> None:
        """Forget expired holds that nobody corrected in time, and ids of long ago."""
        self._holds.prune(now - EXPIRED_KEPT)
        self._issued.forget(now - BOOTS_KEPT)

    def snapshot(self) -> bytes:
        """Return all state but `seen`, which keeps itself. Takes about 1 us a key and hold."""
        state = _State(
            list(self._accounts.values()),
            list(self._holds.live.values()),
            list(self._holds.expired.values()),
            self._holds.found_by_request(),
            self._issued.boots(),
        )
        return _encoder.encode(state)

    def restore(self, data: bytes) -> None:
        """Take over the state of a snapshot. Raises `msgspec.DecodeError`; call it on a new one."""
        state = _decoder.decode(data)
        self._accounts = {account.key_id: account for account in state.accounts}
        self._holds.restore(state.live, state.expired, state.found_by_request)
        self._issued = Issued(state.boots)
