"""The only orchestrator of the data plane: one `check`, one `report`, one direction.

check:  key -> state -> evaluate -> price -> reserve -> write down -> `Decision`
report: find the hold -> charge -> write down -> settle -> `Reported`

Each is written once, as a coroutine, and begins where it is called: what is known at
once is returned at once, and only an answer that has to wait (a key not cached, a remote
counter) is to be awaited.
"""

from collections.abc import Awaitable

from pdp import decide
from pdp.actions import ACTIONS
from pdp.case import Case, facts_of, fingerprint_of
from pdp.eager import run_now
from pdp.errors import SpoolFailed, Unavailable
from pdp.form import request_fault, size_fault
from pdp.key import CompiledKey
from pdp.model import Decision, LimitStatus, Reported, Request, Usage
from pdp.options import Options
from pdp.policy.chain import Attributes, Evaluation
from pdp.ports import Clock, Counters, Ids, KeySource, Prices, UsageSink
from pdp.quota.hold import Admitted, GuardFailed, Hold, Open, Refused, Reserve, Verdict, too_large
from pdp.records import Denied, Extended, Held
from pdp.refusal import (
    MISSING_KEY,
    UNKNOWN_KEY,
    Denial,
    empty_denial,
    key_denial,
    limit_denial,
    price_denial,
)
from pdp.reporting import Reporter
from pdp.stats import Stats
from pdp.wording import shown

_FAILED = "the check failed: try again"
_STORM = "spend changes faster than it can be decided on: try again"

_ATTEMPTS = range(2)
"""Spend that moves under an evaluation once is bad luck; more often it is a storm."""


class Engine:
    """Decides and settles. Everything it needs comes in through the ports."""

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
        self._options = options
        self._stats = stats
        self._reporter = Reporter(
            keys=keys,
            counters=counters,
            prices=prices,
            sink=sink,
            clock=clock,
            options=options,
            stats=stats,
        )

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """Decide a request. A denial is an answer; so is not being able to decide (503)."""
        return run_now(self._check(request))

    async def _check(self, request: Request) -> Decision:
        try:
            if not request.api_key:
                return self._turned_away(MISSING_KEY, request)
            key = self._keys.lookup(request.api_key)
            if key is not None and not isinstance(key, CompiledKey):
                key = await key
            case = self._opened(request, key)
            if not isinstance(case, Case):
                return case if isinstance(case, Decision) else await case
            for _ in _ATTEMPTS:
                asked = self._asked(case)
                if isinstance(asked, Denial):
                    known_better = await self._denied_or(case, asked)
                    if isinstance(known_better, Decision):
                        return known_better
                    asked = known_better
                verdict = self._counters.reserve(asked)
                if not isinstance(verdict, Verdict):
                    verdict = await verdict
                if not isinstance(verdict, GuardFailed):
                    concluded = self._concluded(case, verdict)
                    return concluded if isinstance(concluded, Decision) else await concluded
        except Unavailable as error:
            key = None  # What was waited for has the error, and that has this frame.
            return self._unavailable(request, error)
        return self._unavailable(request, Unavailable(_STORM))

    def _opened(
        self, request: Request, key: CompiledKey | None
    ) -> Case | Decision | Awaitable[Decision]:
        """Return the case of a request that is to be evaluated, else what is known already."""
        if key is None:
            return self._turned_away(UNKNOWN_KEY, request)
        now = self._clock()
        denial = key_denial(key, now)
        if denial is None and (message := request_fault(request)):
            denial = Denial("invalid_request", message)
        # Only a name that is well-formed is looked up, and remembered.
        case = self._case(request, key, now, known=denial is None)
        if denial is not None:
            return self._denied(case, denial)
        if request.request_id and not request.dry_run:
            hold = self._counters.find_open(key.record.id, request.request_id)
            if hold is not None:
                return self._again(case, hold)
        return case

    def _case(self, request: Request, key: CompiledKey, now: int, *, known: bool) -> Case:
        provider, metadata = request.provider, key.metadata
        if known:
            if not provider and request.model:
                provider = self._prices.provider_of(request.model)
            if request.metadata:
                metadata = {**metadata, **request.metadata}
        return Case(request, key, now, provider, metadata)

    def _again(
        self, case: Case, hold: Hold, *, is_noted: bool = True
    ) -> Decision | Awaitable[Decision]:
        """Answer a Check that is retried while its hold lives: as before.

        Not `is_noted`: whoever made the hold may have died before it was written down.
        """
        request = case.request
        if hold.fingerprint != fingerprint_of(request):
            return run_now(self._in_use(case, hold))
        if not is_noted:
            facts = facts_of(case, hold.decision_id, hold.request_id)
            self._write(Held(hold.admitted_at, facts, hold, ()))
        self._stats.checked("allow", "ok", request.adapter)
        return decide.allow(case.key, hold)

    async def _in_use(self, case: Case, hold: Hold) -> Decision:
        """Deny a Check under the id of another request, which was given that one's hold."""
        withdrawn = run_now(self._reporter.withdraw(hold.reservation_id))
        if isinstance(withdrawn, Awaitable):
            await withdrawn
        name = shown(case.request.request_id)
        message = f"request id {name} is in use for another request: make a new one"
        denied = self._denied(case, Denial("invalid_request", message))
        return denied if isinstance(denied, Decision) else await denied

    def _asked(self, case: Case) -> Reserve | Denial:
        """Evaluate; return what to reserve, else the denial."""
        request, key, now = case.request, case.key, case.now
        counters, scope_of = self._counters, key.scope_of
        evaluation = key.chain.evaluate(
            Attributes(
                request.action,
                request.model,
                case.provider,
                request.client_ip,
                request.max_output_tokens,
                case.metadata,
                now,
            ),
            lambda key_id, period: sum(counters.spent(scope_of[key_id], period, now)),
        )
        if not evaluation.allowed:
            return _denial_of(evaluation)
        hold = self._hold(case, evaluation)
        if message := size_fault(hold):
            return self._outsized(key, evaluation, hold) or Denial("invalid_request", message)
        if hold.cost is None and (denial := self._unpriced(key, evaluation, hold)):
            return denial
        return Reserve(hold, key.plan, evaluation.guards, now, request.dry_run, scope_of)

    async def _denied_or(self, case: Case, denial: Denial) -> Decision | Reserve:
        """Deny, unless counters that are elsewhere know better: of a retry, or of spend."""
        request, key = case.request, case.key
        name = "" if request.dry_run else request.request_id
        recalling = self._counters.recall(key.record.id, name, key.plan.scopes, case.now)
        if recalling is not None:
            hold = recalling if isinstance(recalling, Hold) else await recalling
            asked = self._asked(case) if hold is None else denial
            if isinstance(asked, Reserve):
                return asked
            denied = (
                self._denied(case, asked)
                if hold is None
                else self._again(case, hold, is_noted=False)
            )
        else:
            denied = self._denied(case, denial)
        return denied if isinstance(denied, Decision) else await denied

    def _hold(self, case: Case, evaluation: Evaluation) -> Hold:
        request, now = case.request, case.now
        prompt, output = request.prompt_tokens, request.max_output_tokens or 0
        cost: int | None = 0
        input_cost, price, units = 0, None, request.units
        if ACTIONS[request.action].model_bearing:
            output = self._most_output(request)
            price = self._prices.price(request.model, case.provider)
            if price is not None and not price.by_token and not price.covers(units):
                price = None
            if price is None:
                cost = None
            else:
                if units is not None and not price.by_token:
                    prompt = output = 0  # There are none, whatever the bytes look like.
                cost, input_cost = price.hold(prompt, output, units)
        made = self._ids()
        root = "." + case.key.ancestors[-1] if self._options.roots_in_ids else ""
        # Positional: by name it would cost half a microsecond more.
        return Hold(
            "res_" + made + root,
            "dec_" + made,
            case.key.record.id,
            request.request_id or "req_" + made,
            fingerprint_of(request) if request.request_id else 0,
            request.action,
            request.model,
            case.provider,
            cost,
            input_cost,
            prompt + output,
            prompt,
            case.key.windows.at(now),
            now,
            now + self._options.hold_ttl,
            evaluation.statement,
            price,
            units,
        )

    def _most_output(self, request: Request) -> int:
        has_output = ACTIONS[request.action].has_output
        return request.most_output(self._options.default_output_tokens if has_output else 0)

    def _unpriced(self, key: CompiledKey, evaluation: Evaluation, hold: Hold) -> Denial | None:
        """Return why a hold without a price is refused, if a budget applies to it."""
        limited = key.plan.budgets or evaluation.guards
        if not limited or self._options.unknown_price == "allow":
            return None
        if refused := too_large(key.plan, hold.tokens):
            return limit_denial(refused)
        return price_denial(key, evaluation.guards, hold.model, hold.provider)

    def _outsized(self, key: CompiledKey, evaluation: Evaluation, hold: Hold) -> Denial | None:
        """Return which limit refuses a hold that no counter takes, in the order of reserving."""
        if refused := too_large(key.plan, hold.tokens):
            return limit_denial(refused)
        if hold.cost is None and (denial := self._unpriced(key, evaluation, hold)):
            return denial
        return empty_denial(key.plan, hold)

    def _concluded(
        self, case: Case, admitted: Admitted | Refused | Open
    ) -> Decision | Awaitable[Decision]:
        if not isinstance(admitted, Admitted):
            if isinstance(admitted, Open):
                return self._again(case, admitted.hold, is_noted=False)
            return self._denied(case, limit_denial(admitted))
        request, key, hold = case.request, case.key, admitted.hold
        if request.dry_run:
            return self._would_allow(case, admitted)
        facts = facts_of(case, hold.decision_id, hold.request_id)
        self._write(Held(case.now, facts, hold, admitted.rates))
        self._stats.checked("allow", "ok", request.adapter)
        return decide.allow(key, hold, admitted)

    async def _would_allow(self, case: Case, admitted: Admitted) -> Decision:
        key = case.key
        self._stats.checked("allow", "ok", case.request.adapter)
        limits = self._counters.status(key.plan.scopes, case.now)
        if not isinstance(limits, tuple):
            limits = await limits
        return decide.allow(key, admitted.hold, admitted, limits, dry_run=True)

    def deny(
        self, reason: str, message: str, request_id: str = "", adapter: str = "grpc"
    ) -> Decision:
        """Deny a request without a key. Counted, but not in the audit log: it is nobody's."""
        return self._turned_away(
            Denial(reason, message), Request(request_id, "", "", adapter=adapter)
        )

    def undecided(self, request_id: str, adapter: str, message: str = _FAILED) -> Decision:
        """Deny a request that cannot be decided: that is an answer, too."""
        request = Request(request_id, "", "", adapter=adapter)
        return self._unavailable(request, Unavailable(message))

    def _unavailable(self, request: Request, error: Unavailable) -> Decision:
        wait = error.retry_after * 1_000_000_000
        return self._turned_away(Denial("unavailable", str(error), wait), request)

    def _turned_away(self, denial: Denial, request: Request) -> Decision:
        self._stats.checked("deny", denial.reason, request.adapter)
        made = self._ids()
        return decide.deny(denial, "dec_" + made, request.request_id or "req_" + made)

    def _denied(self, case: Case, denial: Denial) -> Decision | Awaitable[Decision]:
        """Deny a request of a known key and write it down; no counter has moved."""
        limits = self._counters.status(case.key.plan.scopes, case.now)
        if isinstance(limits, tuple):
            return self._denied_at(case, denial, limits)
        return self._denied_later(case, denial, limits)

    async def _denied_later(
        self, case: Case, denial: Denial, limits: Awaitable[tuple[LimitStatus, ...]]
    ) -> Decision:
        return self._denied_at(case, denial, await limits)

    def _denied_at(self, case: Case, denial: Denial, limits: tuple[LimitStatus, ...]) -> Decision:
        request, key, now = case.request, case.key, case.now
        made = self._ids()
        request_id = request.request_id[:256] or "req_" + made
        decision = decide.deny(
            denial,
            "dec_" + made,
            request_id,
            key,
            limits,
            http_status=self._options.budget_status if denial.reason == "budget_exceeded" else 0,
            now=now,
        )
        self._stats.checked("deny", denial.reason, request.adapter)
        if not request.dry_run:
            facts = facts_of(case, decision.decision_id, request_id)
            self._write(Denied(now, facts, denial.reason, decision.http_status, key.ancestors))
        return decision

    def _write(self, record: Held | Denied | Extended) -> None:
        try:
            self._sink.append(record)
        except SpoolFailed:
            # The verdict stands: a full disk must not close the gateway. The sink keeps the
            # record; only a crash before the disk is well again forgets it.
            self._stats.spool_failures += 1

    def report(self, usage: Usage) -> Reported | Awaitable[Reported]:
        """Settle one usage; when this says `accepted`, the usage survives the process."""
        return run_now(self._reporter.report(usage))

    def withdraw(self, decision: Decision) -> Awaitable[Reported | None] | Reported | None:
        """Take a permission back that did not reach its caller: he refuses the request.

        Else the hold would be charged when it runs out, for a request that nobody sent. It
        stands as long as a retry of the request relies on it: then None is returned.
        """
        reservation_id = decision.reservation_id
        return run_now(self._reporter.withdraw(reservation_id)) if reservation_id else None

    def extend(self, reservation_id: str) -> Awaitable[bool] | bool:
        """Keep a hold alive for another term: its request is still running.

        False if it has come too late: the hold is charged, or about to be, as by
        `Options.unreported`, and the report of the request corrects that.
        """
        return run_now(self._extend(reservation_id))

    async def _extend(self, reservation_id: str) -> bool:
        now = self._clock()
        expires_at = now + self._options.hold_ttl
        alive = self._counters.extend(reservation_id, expires_at)
        if not isinstance(alive, bool):
            alive = await alive
        if alive:
            self._write(Extended(now, reservation_id, expires_at))
        else:
            self._stats.heartbeats_late += 1
        return alive

    async def expire(self) -> bool:
        """Charge holds whose time is over, some at a time; tell whether more may be due."""
        return await self._reporter.expire(self._clock())


def _denial_of(evaluation: Evaluation) -> Denial:
    return Denial(evaluation.reason, evaluation.message, statement=evaluation.statement)
