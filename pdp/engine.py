"""The only orchestrator of the data plane: one `check`, one `report`, one direction.

check:  key -> state -> evaluate -> price -> reserve -> write down -> `Decision`
report: find the hold -> charge -> write down -> settle -> `Reported`

What is known at once is returned at once; only an answer that has to wait (a
key not cached, a remote counter) makes a coroutine.
"""

from collections.abc import Awaitable

from msgspec import Struct

from pdp import decide
from pdp.actions import ACTIONS
from pdp.case import Case, facts_of, fingerprint_of
from pdp.errors import SpoolFailed, Unavailable
from pdp.form import request_fault, size_fault
from pdp.key import CompiledKey
from pdp.model import Decision, Reported, Request, Usage
from pdp.options import Options
from pdp.policy.chain import Attributes, Evaluation
from pdp.ports import Clock, Counters, Ids, KeySource, Prices, UsageSink
from pdp.quota.hold import Admitted, GuardFailed, Hold, Refused, Reserve, Verdict
from pdp.records import Denied, Extended, Held
from pdp.refusal import key_fault, refusal, unpriced
from pdp.reporting import Reporter
from pdp.stats import Stats
from pdp.wording import shown


class _Attempt(Struct, frozen=True, gc=False):
    """One try to reserve; `left` more may follow when spend moved under the evaluation."""

    case: Case
    evaluation: Evaluation
    hold: Hold
    left: int


_FAILED = "the check failed: try again"

_MOST_REPEATED = 10_000
"""Repeated Checks that are remembered: a caller that is gone is noticed within moments."""


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
        self._again_of: dict[str, int] = {}
        self._reporter = Reporter(
            keys=keys,
            counters=counters,
            prices=prices,
            sink=sink,
            clock=clock,
            ids=ids,
            options=options,
            stats=stats,
        )

    def check(self, request: Request) -> Decision | Awaitable[Decision]:
        """Decide a request. A denial is an answer; so is not being able to decide (503)."""
        if not request.api_key:
            return self.deny("missing_key", _MISSING_KEY, request.request_id, request.adapter)
        now = self._clock()
        try:
            key = self._keys.lookup(request.api_key)
            if key is None or isinstance(key, CompiledKey):
                answer = self._with_key(request, key, now)
                return answer if isinstance(answer, Decision) else self._wait(request, answer)
        except Unavailable as error:
            return self._unavailable(request, error)
        return self._wait(request, self._with_key_later(request, key))

    async def _with_key_later(
        self, request: Request, key: Awaitable[CompiledKey | None]
    ) -> Decision:
        answer = self._with_key(request, await key, self._clock())
        return answer if isinstance(answer, Decision) else await answer

    async def _wait(self, request: Request, answer: Awaitable[Decision]) -> Decision:
        try:
            return await answer
        except Unavailable as error:
            return self._unavailable(request, error)

    def _with_key(
        self, request: Request, key: CompiledKey | None, now: int
    ) -> Decision | Awaitable[Decision]:
        if key is None:
            return self.deny("invalid_api_key", _UNKNOWN_KEY, request.request_id, request.adapter)
        reason, message = key_fault(key, now)
        if not reason and (message := request_fault(request)):
            reason = "invalid_request"
        # Only a name that is well-formed is looked up, and remembered.
        case = self._case(request, key, now, known=not reason)
        if reason:
            return self._denied(case, reason, message)
        if request.request_id and not request.dry_run:
            hold = self._counters.find_open(key.record.id, request.request_id)
            if hold is not None:
                return self._again(case, hold)
        return self._evaluate(case, left=1)

    def _case(self, request: Request, key: CompiledKey, now: int, *, known: bool) -> Case:
        provider, metadata = request.provider, key.metadata
        if known:
            if not provider and request.model:
                provider = self._prices.provider_of(request.model)
            if request.metadata:
                metadata = {**metadata, **request.metadata}
        return Case(request, key, now, provider, metadata)

    def _again(self, case: Case, hold: Hold) -> Decision:
        """Answer a Check that is retried while its hold lives: as before."""
        request = case.request
        if hold.fingerprint != fingerprint_of(request):
            name = shown(request.request_id)
            message = f"request id {name} is in use for another request: make a new one"
            return self._denied(case, "invalid_request", message)
        self._stats.checked("allow", "ok", request.adapter)
        self._handed_out(hold.reservation_id)
        return decide.allow(case.key, hold)

    def _handed_out(self, reservation_id: str) -> None:
        """Note that one more caller relies on a hold: it is taken back when all are gone."""
        again = self._again_of
        again[reservation_id] = again.get(reservation_id, 0) + 1
        if len(again) > _MOST_REPEATED:
            del again[next(iter(again))]

    def _evaluate(self, case: Case, left: int) -> Decision | Awaitable[Decision]:
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
            return self._denied(
                case, evaluation.reason, evaluation.message, statement=evaluation.statement
            )
        hold = self._hold(case, evaluation)
        if message := size_fault(hold):
            return self._denied(case, "invalid_request", message)
        if hold.cost is None and self._needs_price(key, evaluation):
            return self._unpriced(case, hold)
        attempt = _Attempt(case, evaluation, hold, left)
        verdict = counters.reserve(
            Reserve(hold, key.scopes, evaluation.guards, now, request.dry_run, scope_of)
        )
        if isinstance(verdict, Admitted | Refused | GuardFailed):
            return self._conclude(attempt, verdict)
        return self._conclude_later(attempt, verdict)

    def _hold(self, case: Case, evaluation: Evaluation) -> Hold:
        request, now = case.request, case.now
        prompt, output = request.prompt_tokens, request.max_output_tokens
        cost: int | None = 0
        input_cost = 0
        if ACTIONS[request.action].model_bearing:
            if output is None:
                output = self._options.default_output_tokens
            output *= request.choices
            price = self._prices.price(request.model, case.provider)
            if price is None:
                cost = None
            else:
                cost, input_cost = price.hold(prompt, output)
        tokens = prompt + (output or 0)
        made = self._ids()
        return Hold(
            "res_" + made,
            "dec_" + made,
            case.key.record.id,
            request.request_id or "req_" + made,
            fingerprint_of(request) if request.request_id else 0,
            request.action,
            request.model,
            case.provider,
            cost,
            input_cost,
            tokens,
            prompt,
            case.key.windows.at(now),
            now,
            now + self._options.hold_ttl,
            evaluation.statement,
        )

    def _needs_price(self, key: CompiledKey, evaluation: Evaluation) -> bool:
        limited = key.limited_by_budget or bool(evaluation.guards)
        return limited and self._options.unknown_price == "deny"

    def _unpriced(self, case: Case, hold: Hold) -> Decision:
        if large := decide.too_large(case.key, hold.tokens):
            return self._refused(case, large)
        return self._denied(case, "price_unknown", unpriced(hold.model, hold.provider))

    async def _conclude_later(self, attempt: _Attempt, verdict: Awaitable[Verdict]) -> Decision:
        answer = self._conclude(attempt, await verdict)
        return answer if isinstance(answer, Decision) else await answer

    def _conclude(self, attempt: _Attempt, verdict: Verdict) -> Decision | Awaitable[Decision]:
        if isinstance(verdict, Admitted):
            return self._admitted(attempt, verdict)
        if isinstance(verdict, Refused):
            return self._refused(attempt.case, verdict)
        if not attempt.left:
            raise Unavailable("spend changes faster than it can be decided on: try again")
        return self._evaluate(attempt.case, attempt.left - 1)

    def _admitted(self, attempt: _Attempt, admitted: Admitted) -> Decision:
        case, hold = attempt.case, admitted.hold
        request, key = case.request, case.key
        if request.dry_run:
            self._stats.checked("allow", "ok", request.adapter)
            limits = self._counters.status(key.scopes, case.now)
            return decide.allow(key, hold, admitted, limits, dry_run=True)
        self._write(
            Held(
                case.now,
                facts_of(case, hold.decision_id, hold.request_id),
                hold,
                admitted.rates,
            )
        )
        self._stats.checked("allow", "ok", request.adapter)
        return decide.allow(key, hold, admitted)

    def _refused(self, case: Case, refused: Refused) -> Decision:
        reason, message = refusal(refused)
        return self._denied(case, reason, message, refused=refused)

    def deny(
        self, reason: str, message: str, request_id: str = "", adapter: str = "grpc"
    ) -> Decision:
        """Deny a request without a key. Counted, but not in the audit log: it is nobody's."""
        self._stats.checked("deny", reason, adapter)
        return decide.deny(reason, message, "dec_" + self._ids(), request_id)

    def undecided(self, request_id: str, adapter: str, message: str = _FAILED) -> Decision:
        """Deny a request that cannot be decided: that is an answer, too."""
        request = Request(request_id, "", "", adapter=adapter)
        return self._unavailable(request, Unavailable(message))

    def _unavailable(self, request: Request, error: Unavailable) -> Decision:
        self._stats.checked("deny", "unavailable", request.adapter)
        return decide.deny(
            "unavailable",
            str(error),
            "dec_" + self._ids(),
            request.request_id,
            retry_after=error.retry_after * 1_000_000_000,
        )

    def _denied(
        self,
        case: Case,
        reason: str,
        message: str,
        *,
        statement: str = "",
        refused: Refused | None = None,
    ) -> Decision:
        """Deny a request of a known key and write it down; no counter has moved."""
        request, key, now = case.request, case.key, case.now
        limits = self._counters.status(key.scopes, now)
        decision = decide.deny(
            reason,
            message,
            "dec_" + self._ids(),
            request.request_id,
            key,
            retry_after=refused.retry_after if refused else None,
            statement=statement,
            http_status=self._options.budget_status if reason == "budget_exceeded" else 0,
            limits=limits,
            tightest=decide.status_of(refused, limits) if refused else None,
            now=now,
        )
        self._stats.checked("deny", reason, request.adapter)
        if not request.dry_run:
            facts = facts_of(case, decision.decision_id, request.request_id[:256])
            self._write(Denied(now, facts, reason, decision.http_status, key.ancestors))
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
        return self._reporter.report(usage)

    def withdraw(self, decision: Decision) -> Awaitable[Reported] | Reported | None:
        """Take a permission back that did not reach its caller: he refuses the request.

        Else the hold would be charged when it runs out, for a request that nobody sent.
        """
        reservation_id = decision.reservation_id
        if not reservation_id:
            return None
        others = self._again_of.pop(reservation_id, 0)
        if others > 1:
            self._again_of[reservation_id] = others - 1
        return None if others else self._reporter.withdraw(reservation_id)

    def extend(self, reservation_id: str) -> None:
        """Keep a hold alive for another term: its request is still running."""
        now = self._clock()
        expires_at = now + self._options.hold_ttl
        if self._counters.extend(reservation_id, expires_at):
            self._write(Extended(now, reservation_id, expires_at))

    async def expire(self) -> int:
        """Charge holds whose time is over, `MOST_EXPIRED` at most; return how many."""
        return await self._reporter.expire(self._clock())


_MISSING_KEY = "no API key: send one as `Authorization: Bearer <key>`"
_UNKNOWN_KEY = "the API key is not valid: check it, or ask for a new one"
