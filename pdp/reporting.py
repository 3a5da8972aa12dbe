"""Settling: what a request really used takes the place of what was held for it."""

from collections.abc import Awaitable
from typing import Final, Literal

from msgspec import Struct

from pdp.errors import SpoolFailed, Unavailable
from pdp.form import usage_fault
from pdp.key import CompiledKey
from pdp.model import Reported, Usage, UsageSource
from pdp.options import Options
from pdp.ports import Clock, Counters, Ids, KeySource, Prices, UsageSink
from pdp.quota.hold import Absent, Hold, Settlement, Window
from pdp.quota.money import MOST_USD, NANO
from pdp.records import Expired, Facts, Settled
from pdp.stats import Stats
from pdp.wording import shown

Unreported = Literal["full", "input", "zero"]

MOST_EXPIRED: Final = 250
"""Holds that expire in one go; then a Check may come in between."""

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
        ids: Ids,
        options: Options,
        stats: Stats,
    ) -> None:
        self._keys = keys
        self._counters = counters
        self._prices = prices
        self._sink = sink
        self._clock = clock
        self._ids = ids
        self._unreported: Unreported = options.unreported
        self._stats = stats

    def report(self, usage: Usage) -> Reported | Awaitable[Reported]:
        """Settle one usage. Trouble is in the answer, never an exception."""
        if message := usage_fault(usage):
            return self._count(Reported("error", "invalid_argument", message))
        try:
            found = self._counters.locate(
                usage.reservation_id, usage.key_id, usage.request_id, self._clock()
            )
            if not isinstance(found, Hold | str):
                return self._wait(self._located_later(usage, found))
            answer = self._located(usage, found)
        except Unavailable as error:
            return self._count(Reported("error", "unavailable", str(error)))
        return answer if isinstance(answer, Reported) else self._wait(answer)

    async def _located_later(self, usage: Usage, found: Awaitable[Hold | Absent]) -> Reported:
        answer = self._located(usage, await found)
        return answer if isinstance(answer, Reported) else await answer

    async def _wait(self, answer: Awaitable[Reported]) -> Reported:
        try:
            return await answer
        except Unavailable as error:
            return self._count(Reported("error", "unavailable", str(error)))

    def _count(self, reported: Reported) -> Reported:
        self._stats.reported(reported.result)
        return reported

    def _located(self, usage: Usage, found: Hold | Absent) -> Reported | Awaitable[Reported]:
        if isinstance(found, Hold):
            return self._settle_hold(usage, found)
        if found == "settled":
            # What settled it may be in memory only: that is no reason to say that it is safe.
            return self._count(_NOT_SAFE if self._sink.owing else _DUPLICATE)
        if found == "unknown":
            message = f"reservation {shown(usage.reservation_id)} was never made here"
            return self._count(Reported("error", "unknown_reservation", message))
        if not usage.key_id:
            message = "key_id: needed without a reservation_id"
            return self._count(Reported("error", "invalid_argument", message))
        key = self._keys.by_id(usage.key_id)
        if key is None or isinstance(key, CompiledKey):
            return self._settle_unchecked(usage, key)
        return self._settle_unchecked_later(usage, key)

    def _settle_hold(self, usage: Usage, hold: Hold) -> Reported | Awaitable[Reported]:
        charge = self._charge(usage, hold)
        return self._settle(usage, _facts_of(usage, hold), hold, charge, hold.windows)

    async def _settle_unchecked_later(
        self, usage: Usage, key: Awaitable[CompiledKey | None]
    ) -> Reported:
        found = await key
        # Another report of the same request may have come in while this one waited.
        located = self._counters.locate("", usage.key_id, usage.request_id, self._clock())
        where = located if isinstance(located, Hold | str) else await located
        if where == "new":
            answer = self._settle_unchecked(usage, found)
        else:
            answer = self._located(usage, where)
        return answer if isinstance(answer, Reported) else await answer

    def _settle_unchecked(
        self, usage: Usage, key: CompiledKey | None
    ) -> Reported | Awaitable[Reported]:
        """Charge a usage that was never checked, in the windows of now."""
        if key is None:
            message = f"there is no key {shown(usage.key_id)}: report its id"
            return self._count(Reported("error", "unknown_key", message))
        now, record = self._clock(), key.record
        provider = usage.provider
        if not provider and usage.model:
            provider = self._prices.provider_of(usage.model)
        facts = Facts(
            "dec_" + self._ids(),
            usage.request_id,
            record.id,
            record.name,
            record.organization_id,
            record.team_id,
            record.user_id,
            usage.action,
            usage.model,
            provider,
            usage.client_ip[:64],
            usage.user_agent[:512],
            {**key.metadata, **(usage.metadata or {})},
        )
        return self._settle(usage, facts, None, self._charge(usage, None), key.windows.at(now))

    def _settle(
        self,
        usage: Usage,
        facts: Facts,
        hold: Hold | None,
        charge: _Charge,
        windows: tuple[Window, ...],
    ) -> Reported | Awaitable[Reported]:
        now = self._clock()
        safe = self._write(
            Settled(
                now,
                facts,
                hold.reservation_id if hold else "",
                usage.status,
                usage.http_status,
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.cached_tokens,
                charge.tokens,
                charge.cost,
                usage.latency_ms,
                usage.started_at,
                charge.source,
                windows,
            )
        )
        settled = self._counters.settle(
            Settlement(
                reservation_id=hold.reservation_id if hold else "",
                key_id=facts.key_id,
                request_id=hold.request_id if hold else usage.request_id,
                cost=charge.cost or 0,
                tokens=charge.tokens,
                windows=windows,
                now=now,
            )
        )
        provider = facts.provider or (hold.provider if hold else "")
        done = _ACCEPTED if safe else _NOT_SAFE
        if isinstance(settled, bool):
            return self._settled(usage, provider, charge, done if settled else _DUPLICATE)
        return self._settled_later(usage, provider, charge, settled, done)

    def _write(self, record: Settled | Expired) -> bool:
        """Write a record; False if it is only kept. Raises `SpoolFailed` if it is lost."""
        try:
            self._sink.append(record)
        except SpoolFailed as error:
            self._stats.spool_failures += 1
            if not error.kept:
                raise
            return False
        return True

    async def _settled_later(
        self,
        usage: Usage,
        provider: str,
        charge: _Charge,
        settled: Awaitable[bool],
        done: Reported,
    ) -> Reported:
        return self._settled(usage, provider, charge, done if await settled else _DUPLICATE)

    def _settled(self, usage: Usage, provider: str, charge: _Charge, done: Reported) -> Reported:
        if done is _DUPLICATE:
            return self._count(done)
        self._stats.used(
            # The name of the label is bounded: what callers report is free text.
            provider if self._prices.knows(provider) else "other" if provider else "unknown",
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            charge.cost or 0,
        )
        return self._count(done)

    def _charge(self, usage: Usage, hold: Hold | None) -> _Charge:
        tokens = usage.prompt_tokens + usage.completion_tokens
        if usage.cost is not None:
            return _Charge(usage.cost, tokens, usage.usage_source or "provider")
        if hold is not None and not tokens and _is_silent(usage):
            cost, tokens = unreported(hold, self._unreported)
            return _Charge(cost, tokens, "none")
        source: UsageSource = usage.usage_source or ("provider" if tokens else "none")
        return _Charge(self._cost(usage, hold) if tokens else 0, tokens, source)

    def _cost(self, usage: Usage, hold: Hold | None) -> int | None:
        """Price the tokens at the model that answered, else at the one that was checked.

        A price that changes meanwhile is that of the hold, as the caller was told.
        """
        prices, at = self._prices, hold.admitted_at if hold else self._clock()
        provider = usage.provider or (hold.provider if hold else "")
        for model in (usage.model, hold.model if hold else ""):
            if model:
                price = prices.price_at(model, provider or prices.provider_of(model), at)
                if price is not None:
                    cost = price.cost(
                        usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens
                    )
                    return min(cost, MOST_USD * NANO)
        return None

    def withdraw(self, reservation_id: str) -> Reported | Awaitable[Reported]:
        """Give a hold back whose answer nobody got: the request was never forwarded."""
        found = self._counters.locate(reservation_id, "", "")
        if isinstance(found, Hold | str):
            return self._withdraw(found)
        return self._withdraw_later(found)

    async def _withdraw_later(self, found: Awaitable[Hold | Absent]) -> Reported:
        answer = self._withdraw(await found)
        return answer if isinstance(answer, Reported) else await answer

    def _withdraw(self, found: Hold | Absent) -> Reported | Awaitable[Reported]:
        if not isinstance(found, Hold):
            return _DUPLICATE
        usage = Usage(status="cancelled", usage_source="none")
        charge = _Charge(0, 0, "none")
        return self._settle(usage, _facts_of(usage, found), found, charge, found.windows)

    async def expire(self, now: int) -> int:
        """Charge holds whose time is over by policy, `MOST_EXPIRED` at most; return how many."""
        count = 0
        for hold in self._counters.due(now, MOST_EXPIRED):
            cost, tokens = unreported(hold, self._unreported)
            try:
                self._write(
                    Expired(
                        now,
                        hold.decision_id,
                        hold.reservation_id,
                        hold.key_id,
                        hold.request_id,
                        cost,
                        tokens,
                        hold.windows,
                    )
                )
            except SpoolFailed:
                # Left as it is, the hold still counts; the next sweep tries again.
                break
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
            if settled if isinstance(settled, bool) else await settled:
                count += 1
        self._stats.holds_expired += count
        return count


def _facts_of(usage: Usage, hold: Hold) -> Facts:
    """Return what a report adds to what the Check wrote down of its key."""
    return Facts(
        hold.decision_id,
        usage.request_id or hold.request_id,
        hold.key_id,
        "",
        "",
        "",
        "",
        usage.action,
        usage.model,
        usage.provider,
        usage.client_ip[:64],
        usage.user_agent[:512],
        usage.metadata or {},
    )


def unreported(hold: Hold, policy: Unreported) -> tuple[int, int]:
    """Return (cost in nano-USD, tokens) that a hold is charged when nobody knows its usage."""
    if policy == "full":
        return hold.cost or 0, hold.tokens
    if policy == "input":
        return hold.input_cost, hold.prompt_tokens
    return 0, 0


def _is_silent(usage: Usage) -> bool:
    """Tell whether a usage without tokens means "not known" rather than "nothing used".

    A failed or refused request used nothing; a cancelled one did, and who says
    `none` about a successful one does not know: neither is free.
    """
    if usage.status in ("error", "denied"):
        return False
    return usage.usage_source == "none" or (usage.status == "cancelled" and not usage.usage_source)
