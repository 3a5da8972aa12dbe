"""Settling: what a request really used takes the place of what was held for it."""

from collections import deque
from collections.abc import Sequence
from types import NoneType
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from pdp.errors import SpoolFailed, Unavailable
from pdp.form import usage_fault
from pdp.key import CompiledKey
from pdp.model import Reported, Units, Usage, UsageSource
from pdp.options import Options
from pdp.ports import Clock, Counters, KeySource, Prices, UsageSink
from pdp.quota.cost import Price
from pdp.quota.hold import Absent, Hold, Outcome, Settlement, Window
from pdp.quota.money import MOST_USD, NANO
from pdp.records import (
    Expired,
    Facts,
    Overruled,
    Settled,
    overruled,
    settlement_of,
    unchecked_decision,
)
from pdp.stats import Stats
from pdp.untold import has_no_tokens, merged_units, tells_nothing
from pdp.wording import shown

Unreported = Literal["full", "input", "zero"]

MOST_EXPIRED: Final = 250
"""Holds that expire in one go, or are withdrawn again; then a Check may come in between."""

_MOST_WITHDRAWN: Final = 10_000
"""Withdrawals that wait for counters that do not answer."""

_FOUND: Final = (Hold, str)
_WITHDRAWN: Final = (Hold, NoneType)
_SETTLED: Final = (bool, Outcome)
_ACCEPTED = Reported("accepted")
_DUPLICATE = Reported("duplicate")
_NOT_SAFE = Reported(
    "error",
    "unavailable",
    "charged, but not on disk yet, for it cannot be written: report it again",
)


class _Charge(Struct, frozen=True, gc=False):
    """What a usage costs; `cost` None: neither reported nor priced, counted as 0."""

    cost: int | None
    tokens: int
    source: UsageSource


class Reporter:
    """Takes usages and expires holds. A usage is written down before it is counted."""

    def __init__(
        self,
        *,
        keys: KeySource,
        counters: Counters,
        prices: Prices,
        sink: UsageSink,
        clock: Clock,
        options: Options,
        stats: Stats,
    ) -> None:
        self._keys = keys
        self._counters = counters
        self._prices = prices
        self._sink = sink
        self._clock = clock
        self._unreported: Unreported = options.unreported
        self._stats = stats
        self._unwithdrawn: deque[str] = deque(maxlen=_MOST_WITHDRAWN)

    async def report(self, usage: Usage) -> Reported:
        """Settle one usage. Trouble is in the answer, never an exception."""
        try:
            reported = await self._take(usage)
        except Unavailable as error:
            reported = Reported("error", "unavailable", str(error))
        self._stats.reported(reported.result)
        return reported

    async def _take(self, usage: Usage) -> Reported:
        if message := usage_fault(usage):
            return Reported("error", "invalid_argument", message)
        # One `now` from here on: what was found a moment ago might be gone a moment later,
        # and then the record of its settlement would be untrue.
        now = self._clock()
        return await self._settle_found(usage, await self._locate(usage, now), now)

    async def _locate(self, usage: Usage, now: int) -> Hold | Absent:
        found = self._counters.locate(usage.reservation_id, usage.key_id, usage.request_id, now)
        return found if isinstance(found, _FOUND) else await found

    async def _settle_found(self, usage: Usage, found: Hold | Absent, now: int) -> Reported:
        if isinstance(found, Hold):
            usage = self._without_guess(usage, found)
            facts, charge = _facts_of(usage, found), self._charge(usage, found)
            return await self._settle(usage, facts, charge, found.windows, now, found)
        if found == "settled":
            # What settled it may be in memory only: that is no reason to say that it is safe.
            return _NOT_SAFE if self._sink.owing else _DUPLICATE
        if found == "unknown":
            message = f"reservation {shown(usage.reservation_id)} was never made here"
            return Reported("error", "unknown_reservation", message)
        if not usage.key_id:
            message = "key_id: needed without a reservation_id"
            return Reported("error", "invalid_argument", message)
        return await self._settle_unchecked(usage, now)

    async def _settle_unchecked(self, usage: Usage, now: int) -> Reported:
        """Charge a usage that was never checked, in the windows of now."""
        key = self._keys.by_id(usage.key_id)
        if key is not None and not isinstance(key, CompiledKey):
            key, now = await key, self._clock()
            # Another report of the same request may have come in while this one waited.
            found = await self._locate(usage, now)
            if found != "new":
                return await self._settle_found(usage, found, now)
        if key is None:
            message = f"there is no key {shown(usage.key_id)}: report its id"
            return Reported("error", "unknown_key", message)
        facts, charge = self._facts_of_unchecked(usage, key, now), self._charge(usage, None)
        return await self._settle(usage, facts, charge, key.windows.at(now), now)

    def _facts_of_unchecked(self, usage: Usage, key: CompiledKey, now: int) -> Facts:
        record, provider = key.record, usage.provider
        if not provider and usage.model:
            provider = self._prices.provider_of(usage.model)
        return Facts(
            decision_id=unchecked_decision(record.id, usage.request_id, now),
            request_id=usage.request_id,
            key_id=record.id,
            key_name=record.name,
            organization_id=record.organization_id,
            team_id=record.team_id,
            user_id=record.user_id,
            action=usage.action,
            model=usage.model,
            provider=provider,
            client_ip=usage.client_ip[:64],
            user_agent=usage.user_agent[:512],
            metadata={**key.metadata, **(usage.metadata or {})},
        )

    async def _settle(
        self,
        usage: Usage,
        facts: Facts,
        charge: _Charge,
        windows: tuple[Window, ...],
        now: int,
        hold: Hold | None = None,
    ) -> Reported:
        reservation_id = hold.reservation_id if hold else ""
        record = _settled_of(usage, facts, charge, reservation_id, windows, now)
        safe = self._write(record)
        request_id = hold.request_id if hold else usage.request_id
        settled = self._counters.settle(settlement_of(record, request_id))
        if not isinstance(settled, _SETTLED):
            settled = await settled
        if isinstance(settled, Outcome):
            self._overrule(record, settled)
            return _DUPLICATE
        if not settled:
            return _DUPLICATE
        self._note_used(usage, facts.provider or (hold.provider if hold else ""), charge)
        return _ACCEPTED if safe else _NOT_SAFE

    def _overrule(self, record: Settled, outcome: Outcome) -> None:
        """Let the ledger charge what counters have: of two at once they took the other."""
        try:
            self._write(overruled(record, outcome))
        except SpoolFailed:
            return  # A comparison with the ledger tells of it.

    def _write(self, record: Settled | Expired | Overruled) -> bool:
        """Write a record; False if it is only kept. Raises `SpoolFailed` if it is lost."""
        try:
            self._sink.append(record)
        except SpoolFailed as error:
            self._stats.spool_failures += 1
            if not error.kept:
                raise
            return False
        return True

    def _note_used(self, usage: Usage, provider: str, charge: _Charge) -> None:
        self._stats.used(
            # The name of the label is bounded: what callers report is free text.
            provider if self._prices.knows(provider) else "other" if provider else "unknown",
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            charge.cost or 0,
        )

    def _charge(self, usage: Usage, hold: Hold | None) -> _Charge:
        tokens = usage.prompt_tokens + usage.completion_tokens
        if usage.cost is not None:
            return _Charge(usage.cost, tokens, usage.usage_source or "provider")
        told = tokens > 0 or usage.units is not None
        if hold is not None and tokens == 0:
            price = self._price(usage, hold, merged_units(usage.units, hold.units))
            if tells_nothing(usage, hold, price):
                cost, tokens = unreported(hold, self._unreported)
                return _Charge(cost, tokens, "none")
        source: UsageSource = usage.usage_source or ("provider" if told else "none")
        if told:
            return _Charge(self._cost(usage, hold), tokens, source)
        # Without a token there may be a fee, for what was served: what is estimated was.
        served = usage.status == "success" or source == "estimated"
        return _Charge((self._cost(usage, hold) or 0) if served else 0, tokens, source)

    def _without_guess(self, usage: Usage, hold: Hold) -> Usage:
        """Return a usage without tokens that were guessed of what has none."""
        if usage.usage_source != "estimated":
            return usage
        units = merged_units(usage.units, hold.units)
        if not has_no_tokens(units, self._price(usage, hold, units)):
            return usage
        return replace(usage, prompt_tokens=0, completion_tokens=0, cached_tokens=0, details=None)

    def _cost(self, usage: Usage, hold: Hold | None) -> int | None:
        """Price a usage at the model that answered, else at the one that was checked."""
        units = usage.units if hold is None else merged_units(usage.units, hold.units)
        price = self._price(usage, hold, units)
        if price is None:
            # One that was filled from the ledger has lost its price, and what it was for.
            return (hold.cost or None) if hold is not None else None
        cost = price.cost(
            usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.details, units
        )
        return min(cost, MOST_USD * NANO)

    def _price(self, usage: Usage, hold: Hold | None, units: Units | None) -> Price | None:
        """Return the price of a usage: where it changes meanwhile, that of the hold."""
        prices, at = self._prices, hold.admitted_at if hold else self._clock()
        provider = usage.provider or (hold.provider if hold else "")
        for model in (usage.model, hold.model if hold else ""):
            if hold is not None and hold.price is not None and _is_held(hold, model, provider):
                return hold.price
            if model:
                price = prices.price_at(model, provider or prices.provider_of(model), at)
                if price is not None and price.covers(units):
                    return price
        return None if hold is None else hold.price

    async def withdraw(self, reservation_id: str) -> Reported | None:
        """Give a hold back whose answer nobody got: the request was never forwarded.

        Returns None where somebody else relies on it, and where nobody can tell just now:
        then it is tried again with the next `expire`.
        """
        try:
            return await self._withdraw(reservation_id)
        except Unavailable:
            self._unwithdrawn.append(reservation_id)
            return None

    async def _withdraw(self, reservation_id: str) -> Reported | None:
        found = self._counters.withdraw(reservation_id)
        if not isinstance(found, _WITHDRAWN):
            found = await found
        if found is None:
            return None
        usage = Usage(status="cancelled", usage_source="none")
        facts, charge = _facts_of(usage, found), _Charge(0, 0, "none")
        reported = await self._settle(usage, facts, charge, found.windows, self._clock(), found)
        self._stats.reported(reported.result)
        return reported

    async def _withdraw_again(self) -> None:
        for _ in range(min(len(self._unwithdrawn), MOST_EXPIRED)):
            await self.withdraw(self._unwithdrawn.popleft())

    async def expire(self, now: int) -> bool:
        """Charge holds whose time is over by policy, `MOST_EXPIRED` at most.

        Tells whether more may be due; then call it again.
        """
        if self._unwithdrawn:
            await self._withdraw_again()
        due = self._counters.due(now, MOST_EXPIRED)
        if not isinstance(due, Sequence):
            due = await due
        for hold in due:
            cost, tokens = unreported(hold, self._unreported)
            try:
                self._write(_expired_of(hold, cost, tokens, now))
            except SpoolFailed:
                # Left as it is, the hold still counts; the next sweep tries again.
                return False
            settled = self._counters.settle(
                Settlement(
                    reservation_id=hold.reservation_id,
                    key_id=hold.key_id,
                    request_id=hold.request_id,
                    cost=cost,
                    tokens=tokens,
                    windows=hold.windows,
                    now=now,
                    expired=True,
                )
            )
            if not isinstance(settled, _SETTLED):
                settled = await settled
            if settled is True:
                self._stats.holds_expired += 1
        return len(due) >= MOST_EXPIRED


def _facts_of(usage: Usage, hold: Hold) -> Facts:
    """Return what a report adds to what the Check wrote down of its key."""
    return Facts(
        decision_id=hold.decision_id,
        request_id=usage.request_id or hold.request_id,
        key_id=hold.key_id,
        key_name="",
        organization_id="",
        team_id="",
        user_id="",
        action=usage.action,
        model=usage.model,
        provider=usage.provider,
        client_ip=usage.client_ip[:64],
        user_agent=usage.user_agent[:512],
        metadata=usage.metadata or {},
    )


def _settled_of(
    usage: Usage,
    facts: Facts,
    charge: _Charge,
    reservation_id: str,
    windows: tuple[Window, ...],
    now: int,
) -> Settled:
    return Settled(
        at=now,
        facts=facts,
        reservation_id=reservation_id,
        status=usage.status,
        http_status=usage.http_status,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        counted_tokens=charge.tokens,
        cost=charge.cost,
        latency_ms=usage.latency_ms,
        started_at=usage.started_at,
        usage_source=charge.source,
        windows=windows,
    )


def _expired_of(hold: Hold, cost: int, tokens: int, now: int) -> Expired:
    return Expired(
        at=now,
        decision_id=hold.decision_id,
        reservation_id=hold.reservation_id,
        key_id=hold.key_id,
        request_id=hold.request_id,
        cost=cost,
        tokens=tokens,
        windows=hold.windows,
    )


def unreported(hold: Hold, policy: Unreported) -> tuple[int, int]:
    """Return (cost in nano-USD, tokens) that a hold is charged when nobody knows its usage."""
    if policy == "full":
        return hold.cost or 0, hold.tokens
    if policy == "input":
        return hold.input_cost, hold.prompt_tokens
    return 0, 0


def _is_held(hold: Hold, model: str, provider: str) -> bool:
    """Tell whether a hold is for the model of a usage; empty: as it was checked."""
    return model in ("", hold.model) and provider == hold.provider
