"""Envoy's two services on the PDP's port: ext_authz and the access log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from functools import partial
from typing import Any, Protocol

import grpc
import structlog

from adapters.envoy.allowed import REFERENCE, allowed
from adapters.envoy.translate import PARTIAL_BODY, Entry, usage_of
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.ask import Ask, HttpOptions, HttpRequest, Refusal, ask_of
from adapters.http.counts import Shape, believed, shape_of
from adapters.http.denial import denial_of
from adapters.http.engine import Decider
from adapters.http.reference import Reference, parse_reference, reference_of
from pdp.model import Decision, Reported, Usage
from pdp.serve.abreast import Abreast, Room
from pdp.serve.load import OVERLOADED, Load
from pdp.serve.logs import log_defect
from pdp.serve.rpc import Answer, is_gone, settled

_log = structlog.get_logger(__name__)

AUTHORIZATION = "envoy.service.auth.v3.Authorization"
ACCESS_LOG = "envoy.service.accesslog.v3.AccessLogService"

_EXT_AUTHZ = "envoy.filters.http.ext_authz"
_USAGE = "llm.usage"
_BREATH = 10
"""Entries that are taken in one go; then a Check may come in between."""

_OVERWRITE = 2
_PERMISSION_DENIED = 7


class Engine(Decider, Protocol):
    """The part of the engine that Envoy needs."""

    def report(self, usage: Usage) -> Reported | Awaitable[Reported]:
        """Settle a usage."""
        ...

    def extend(self, reservation_id: str) -> Awaitable[bool] | bool:
        """Keep a hold alive; False if it is no longer."""
        ...


def register(
    server: Any, engine: Engine, options: HttpOptions, default_output: int, load: Load
) -> None:
    """Add both services to a server, in the form that its fast path takes."""
    authorization = Authorization(engine, options, default_output, load)
    server.add_registered_method_handlers(
        AUTHORIZATION,
        {
            "Check": grpc.unary_unary_rpc_method_handler(
                authorization.check,
                request_deserializer=pb.CheckRequest.FromString,
                response_serializer=pb.CheckResponse.SerializeToString,
            )
        },
    )
    server.offer(AUTHORIZATION, "Check", authorization.check_now)
    server.add_registered_method_handlers(
        ACCESS_LOG,
        {
            "StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                AccessLog(engine).stream,
                request_deserializer=pb.StreamAccessLogsMessage.FromString,
                response_serializer=pb.StreamAccessLogsResponse.SerializeToString,
            )
        },
    )


class Authorization:
    """envoy.service.auth.v3.Authorization."""

    def __init__(
        self, engine: Engine, options: HttpOptions, default_output: int, load: Load
    ) -> None:
        self._engine = engine
        self._load = load
        self._options = options
        self._default_output = default_output

    async def check(self, message: pb.CheckRequest, context: Any) -> pb.CheckResponse | bytes:
        """Decide one request; a permission is a CheckResponse that is encoded already."""
        answer = self.check_now(message)
        found = answer if isinstance(answer, Answer) else await answer
        if found.undo is not None and (found.void or is_gone(context)):
            # Envoy has refused the request already: it gave up waiting.
            await settled(found.undo())
        response: pb.CheckResponse | bytes = found.message
        return response

    def check_now(self, message: pb.CheckRequest) -> Answer | Awaitable[Answer]:
        """Decide one request, without waiting where that can be.

        Never an empty answer, never status 0: Envoy would let both through.
        """
        if self._load.shedding:
            refused = self._engine.undecided(_request_id(message), "envoy", OVERLOADED)
            return Answer(_denied(refused, None))
        try:
            ask = ask_of(_http_of(message), self._options)
            if isinstance(ask, Refusal):
                decision = self._engine.deny(ask.reason, ask.message, ask.request_id, "envoy")
                return Answer(_denied(decision, ask.param))
            answer = self._engine.check(ask.request)
            if isinstance(answer, Decision):
                return self._answer(message, ask, answer)
        except Exception as error:
            return self._failed(message, error)
        return self._check_later(message, ask, answer)

    async def _check_later(
        self, message: pb.CheckRequest, ask: Ask, waiting: Awaitable[Decision]
    ) -> Answer:
        try:
            return self._answer(message, ask, await waiting)
        except Exception as error:
            return self._failed(message, error)

    def _failed(self, message: pb.CheckRequest, error: Exception) -> Answer:
        log_defect(_log, "ext_authz failed", error)
        return Answer(_denied(self._engine.undecided(_request_id(message), "envoy"), None))

    def _answer(self, message: pb.CheckRequest, ask: Ask, decision: Decision) -> Answer:
        if not decision.allowed:
            return Answer(_denied(decision, None))
        undo = partial(self._engine.withdraw, decision)
        try:
            return Answer(self._allowed(ask, decision), undo)
        except Exception as error:
            return Answer(self._failed(message, error).message, undo, void=True)

    def _allowed(self, ask: Ask, decision: Decision) -> bytes:
        reference = reference_of(ask.request, decision, self._default_output)
        return allowed(decision.response_headers, reference, force_usage=ask.force_usage)


class AccessLog:
    """envoy.service.accesslog.v3.AccessLogService."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = Room()

    async def stream(
        self, messages: AsyncIterator[pb.StreamAccessLogsMessage], _context: Any
    ) -> pb.StreamAccessLogsResponse:
        """Report every entry; one that fails is logged, and the stream goes on."""
        abreast = Abreast(self._room)
        async for message in messages:
            for index, entry in enumerate(message.http_logs.log_entry):
                if index % _BREATH == _BREATH - 1:
                    await asyncio.sleep(0)
                try:
                    waiting = self._take(entry, abreast)
                    if waiting is not None:
                        await waiting
                except Exception as error:
                    log_defect(_log, "access log entry failed", error)
        await abreast.done()
        return pb.StreamAccessLogsResponse()

    def _take(self, entry: pb.HTTPAccessLogEntry, abreast: Abreast) -> Awaitable[None] | None:
        """Begin to report an entry; returns what to wait for, None: it is not one of ours."""
        common = entry.common_properties
        found = common.metadata.filter_metadata
        if _EXT_AUTHZ not in found:
            return None
        reference = parse_reference(found[_EXT_AUTHZ].fields[REFERENCE].string_value)
        if reference is None:
            return None
        if common.intermediate_log_entry:
            extending = partial(self._extend, reference.reservation_id)
            return abreast.begin(extending, reference.reservation_id)
        usage = usage_of(_entry_of(entry.response, common, reference))
        return abreast.begin(partial(self._report, usage), usage.reservation_id, usage.request_id)

    async def _extend(self, reservation_id: str) -> None:
        try:
            extending = self._engine.extend(reservation_id)
            is_alive = extending if isinstance(extending, bool) else await extending
        except Exception as error:
            log_defect(_log, "a hold was not extended", error)
            return
        if not is_alive:
            _log.warning(
                "a stream has outlived its hold, which is charged until the end of the stream "
                "corrects it: let Envoy send intermediate entries sooner than PDP_HOLD_TTL",
                reservation=reservation_id,
            )

    def _report(self, usage: Usage) -> Coroutine[Any, Any, None] | None:
        """Report a usage; returns what has to wait, None where nothing has."""
        answer = self._engine.report(usage)
        if not isinstance(answer, Reported):
            return self._report_later(answer)
        _note(answer)
        return None

    async def _report_later(self, answer: Awaitable[Reported]) -> None:
        try:
            _note(await answer)
        except Exception as error:
            log_defect(_log, "access log entry failed", error)


def _note(reported: Reported) -> None:
    if reported.result == "error":
        _log.error("usage not taken", code=reported.code, reason=reported.message)


def _http_of(message: pb.CheckRequest) -> HttpRequest:
    attributes = message.attributes
    http = attributes.request.http
    return HttpRequest(
        http.method,
        http.path,
        http.headers,
        http.raw_body or http.body.encode(),
        attributes.source.address.socket_address.address,
        attributes.context_extensions.get("provider", ""),
        http.headers.get(PARTIAL_BODY, "false") != "false",
    )


def _request_id(message: pb.CheckRequest) -> str:
    found: str = message.attributes.request.http.headers.get("x-request-id", "")
    return found[:256]


def _denied(decision: Decision, param: str | None) -> pb.CheckResponse:
    status, headers, body = denial_of(decision, param)
    response = pb.CheckResponse()
    response.status.code = _PERMISSION_DENIED
    denied = response.denied_response
    denied.status.code = status
    for name, value in headers.items():
        _add(denied.headers, name, value)
    denied.body = body.decode()
    return response


def _add(options: Any, name: str, value: str) -> None:
    option = options.add(append_action=_OVERWRITE)
    option.header.key = name
    option.header.value = value


def _entry_of(
    response: pb.HTTPResponseProperties, common: pb.AccessLogCommon, reference: Reference
) -> Entry:
    found, flags = common.metadata.filter_metadata, common.response_flags
    duration, start = common.duration, common.start_time
    return Entry(
        reference,
        response.response_code.value,
        response.response_code_details,
        _shape(response),
        _told(found[_USAGE]) if _USAGE in found else {},
        cut=flags.downstream_connection_termination or flags.downstream_remote_reset,
        failed=_upstream_failed(flags),
        slow=flags.upstream_request_timeout or flags.stream_idle_timeout,
        duration=duration.seconds * 1000 + duration.nanos // 1_000_000,
        started_at=start.seconds * 1_000_000_000 + start.nanos,
    )


def _told(usage: Any) -> dict[str, int]:
    """Return the counts that Envoy read out of the response."""
    fields = usage.fields
    return believed({name: fields[name].number_value for name in fields})


def _shape(response: pb.HTTPResponseProperties) -> Shape:
    # Headers are there if the access log is told to have them; without, all is plain text.
    told = response.response_headers
    size = response.response_body_bytes
    return shape_of(size, told.get("content-type", ""), told.get("content-encoding", ""))


def _upstream_failed(flags: pb.ResponseFlags) -> bool:
    return (
        flags.no_healthy_upstream
        or flags.upstream_remote_reset
        or flags.upstream_connection_failure
        or flags.upstream_connection_termination
        or flags.upstream_protocol_error
    )
