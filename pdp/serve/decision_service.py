"""PolicyDecisionService: protobuf in, `pdp.model` through, protobuf out."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from functools import partial
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import astuple

from pdp.engine import Engine
from pdp.model import Decision, LimitStatus, Reported, Request, TokenDetails, Units, Usage
from pdp.quota.money import parse_cost
from pdp.serve.abreast import Abreast, Room
from pdp.serve.load import OVERLOADED, Load
from pdp.serve.logs import log_defect
from pdp.serve.permission import permission
from pdp.serve.rpc import Answer, is_gone, settled
from pdp.stats import Stats
from pdp.untold import status_of
from pdp.v1 import policy_decision_pb2 as pb

_log = structlog.get_logger(__name__)

_SECOND = 1_000_000_000
_MAX_USAGES = 10_000
_BREATH = 100
"""Usages that are settled in one go; then a Check may come in between."""

_BROKE = Reported("error", "unavailable", "the report failed: send it again")

_STATUSES = ("success", "error", "denied", "cancelled")
_SOURCES = ("", "provider", "estimated", "none")
_SIZES = ("estimated_prompt_tokens", "max_output_tokens")


class DecisionService:
    """The servicer; it translates and nothing else."""

    def __init__(self, engine: Engine, stats: Stats, load: Load) -> None:
        self._engine = engine
        self._stats = stats
        self._load = load
        self._room = Room()

    async def Check(  # noqa: N802
        self, request: pb.CheckRequest, context: Any
    ) -> pb.CheckResponse | bytes:
        """Decide one request; a permission is a CheckResponse that is encoded already."""
        answer = self.check_now(request)
        if answer is None:
            await _refuse_sizes(request, context)
        found = answer if isinstance(answer, Answer) else await answer
        if found.undo is not None and (found.void or is_gone(context)):
            await settled(found.undo())
        message: pb.CheckResponse | bytes = found.message
        return message

    def check_now(self, request: pb.CheckRequest) -> Answer | Awaitable[Answer] | None:
        """Decide one request, without waiting where that can be; None: it is malformed."""
        prompt = request.estimated_prompt_tokens
        output = request.max_output_tokens if request.HasField("max_output_tokens") else None
        units = _units_of(request.units) if request.HasField("units") else None
        if prompt < 0 or (output is not None and output < 0) or (units and min(astuple(units)) < 0):
            return None
        if self._load.shedding:
            return Answer(
                decision_to_proto(self._engine.undecided(request.request_id, "grpc", OVERLOADED))
            )
        asked = Request(
            request.request_id,
            request.api_key,
            request.action,
            request.model,
            request.provider,
            request.client_ip,
            request.user_agent,
            prompt,
            output,
            dict(request.metadata) if request.metadata else None,
            request.dry_run,
            units=units,
        )
        try:
            decision = self._engine.check(asked)
            if not isinstance(decision, Decision):
                return self._check_later(asked, decision)
        except Exception as error:
            decision = self._failed(asked, error)
        return self._answer(asked, decision)

    async def _check_later(self, asked: Request, waiting: Awaitable[Decision]) -> Answer:
        try:
            decision = await waiting
        except Exception as error:
            decision = self._failed(asked, error)
        return self._answer(asked, decision)

    def _failed(self, asked: Request, error: Exception) -> Decision:
        log_defect(_log, "check failed", error)
        return self._engine.undecided(asked.request_id, asked.adapter)

    def _answer(self, asked: Request, decision: Decision) -> Answer:
        undo = partial(self._engine.withdraw, decision) if decision.reservation_id else None
        try:
            plain = decision.allowed and not asked.dry_run
            return Answer(permission(decision) if plain else decision_to_proto(decision), undo)
        except Exception as error:
            log_defect(_log, "a decision cannot be said", error)
            undecided = self._engine.undecided(asked.request_id, asked.adapter)
            return Answer(decision_to_proto(undecided), undo, void=True)

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:  # noqa: N802
        """Settle usages, each by itself."""
        if len(request.usages) > _MAX_USAGES:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"usages: {len(request.usages)} at once: send {_MAX_USAGES} or fewer",
            )
        reported = [_BROKE] * len(request.usages)

        async def later(place: int, answer: Awaitable[Reported]) -> None:
            try:
                reported[place] = await answer
            except Exception as error:
                reported[place] = self._broken(error)

        def one(place: int, usage: pb.Usage) -> Coroutine[Any, Any, None] | None:
            answer = self._report(usage)
            if not isinstance(answer, Reported):
                return later(place, answer)
            reported[place] = answer
            return None

        abreast = Abreast(self._room)
        for place, usage in enumerate(request.usages):
            if place % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            await abreast.begin(partial(one, place, usage), usage.reservation_id, usage.request_id)
        await abreast.done()
        return _summed(request.usages, reported)

    def _report(self, usage: pb.Usage) -> Reported | Awaitable[Reported]:
        try:
            parsed = usage_from_proto(usage)
        except ValueError as error:
            self._stats.reported("error")
            return Reported("error", "invalid_argument", str(error))
        try:
            return self._engine.report(parsed)
        except Exception as error:
            return self._broken(error)

    def _broken(self, error: Exception) -> Reported:
        log_defect(_log, "report failed", error)
        self._stats.reported("error")
        return _BROKE


def _summed(usages: Sequence[pb.Usage], reported: Sequence[Reported]) -> pb.ReportResponse:
    response = pb.ReportResponse()
    for usage, each in zip(usages, reported, strict=True):
        if each.result == "accepted":
            response.accepted += 1
        elif each.result == "duplicate":
            response.duplicates += 1
        else:
            response.errors.add(
                request_id=usage.request_id or usage.reservation_id,
                code=each.code,
                message=each.message,
            )
    return response


async def _refuse_sizes(request: pb.CheckRequest, context: Any) -> NoReturn:
    name = next((name for name in _SIZES if getattr(request, name) < 0), "units")
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: negative: send 0 or more")
    raise AssertionError("abort raises")


def _outcome_of(usage: pb.Usage) -> tuple[str, str]:
    """Return status and source; without a status silence is not zero."""
    if usage.status:
        return usage.status, usage.usage_source
    tells = usage.prompt_tokens or usage.completion_tokens or usage.cost_usd
    unsaid = "" if tells or usage.HasField("units") else "none"
    return status_of(usage.http_status), usage.usage_source or unsaid


def usage_from_proto(usage: pb.Usage) -> Usage:
    """Return a usage; raises `ValueError` for what it cannot say, naming the field.

    Whether its amounts make sense, the engine sees.
    """
    status, source = _outcome_of(usage)
    if status not in _STATUSES:
        raise ValueError(f"status: `{status[:40]}` is not one of {', '.join(_STATUSES)}")
    if source not in _SOURCES:
        raise ValueError(f"usage_source: `{source[:40]}` is not one of {', '.join(_SOURCES[1:])}")
    started_at = None
    if usage.HasField("started_at"):
        started_at = usage.started_at.seconds * _SECOND + usage.started_at.nanos
    # Positional: by name it would cost half a microsecond more.
    return Usage(
        usage.request_id,
        usage.reservation_id,
        usage.key_id,
        usage.action,
        usage.model,
        usage.provider,
        status,  # type: ignore[arg-type]
        usage.http_status,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        _cost_of(usage.cost_usd),
        usage.latency_ms,
        started_at,
        usage.client_ip,
        usage.user_agent,
        dict(usage.metadata) if usage.metadata else None,
        source,  # type: ignore[arg-type]
        _details_of(usage.details) if usage.HasField("details") else None,
        _units_of(usage.units) if usage.HasField("units") else None,
    )


def _cost_of(told: str) -> int | None:
    """Return a reported cost; raises `ValueError`."""
    try:
        return parse_cost(told) if told else None
    except ValueError as error:
        raise ValueError(f"cost_usd: {error}") from error


def _details_of(details: pb.TokenDetails) -> TokenDetails:
    return TokenDetails(
        details.cache_write_tokens,
        details.cache_write_1h_tokens,
        details.input_audio_tokens,
        details.cached_audio_tokens,
        details.input_image_tokens,
        details.cached_image_tokens,
        details.output_audio_tokens,
        details.output_image_tokens,
        details.reasoning_tokens,
    )


def _units_of(units: pb.Units) -> Units:
    return Units(units.images, units.characters, units.audio_seconds)


def decision_to_proto(decision: Decision) -> pb.CheckResponse:
    """Return the answer to a Check."""
    response = pb.CheckResponse(
        decision=pb.DECISION_ALLOW if decision.allowed else pb.DECISION_DENY,
        reason=decision.reason,
        message=decision.message,
        http_status=decision.http_status,
        key_id=decision.key_id,
        key_name=decision.key_name,
        organization_id=decision.organization_id,
        team_id=decision.team_id,
        user_id=decision.user_id,
        reservation_id=decision.reservation_id,
        policy_revision=decision.policy_revision,
        matched_statement=decision.matched_statement,
        response_headers=decision.response_headers,
        decision_id=decision.decision_id,
    )
    if decision.retry_after is not None:
        response.retry_after.FromNanoseconds(decision.retry_after)
    if decision.limits:
        response.limits.extend(map(_limit_to_proto, decision.limits))
    return response


def _limit_to_proto(limit: LimitStatus) -> pb.LimitStatus:
    return pb.LimitStatus(
        name=limit.name,
        key_id=limit.key_id,
        unit=limit.unit,
        limit=limit.limit,
        spent=limit.spent,
        held=limit.held,
        remaining=limit.remaining,
        reset_at=None if limit.reset_at is None else _timestamp(limit.reset_at),
    )


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // _SECOND, nanos=ns % _SECOND)
