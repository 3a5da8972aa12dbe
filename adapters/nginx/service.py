"""Decides what NGINX asks. Knows nothing of connections."""

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic, perf_counter_ns
from typing import Final

import structlog
from msgspec import Struct

from adapters.http.ask import Ask, HttpOptions, HttpRequest, Refusal, ask_of
from adapters.http.engine import Decider
from adapters.http.reference import reference_of
from adapters.nginx.answer import Reply, allowed, auth_allowed, auth_denied, denied, refused
from adapters.nginx.question import (
    BODY_FILE,
    CALLER_TOKEN,
    MODEL,
    REQUEST_ID,
    Received,
    bodiless_of,
    http_of,
    is_priced_by_body,
    unread_body,
)
from pdp.model import Decision
from pdp.serve.histogram import Histogram
from pdp.serve.load import OVERLOADED, Load
from pdp.serve.logs import log_defect

_log = structlog.get_logger(__name__)

DECIDE: Final = "/decide"
"""Where NGINX passes requests, bodies included; the answer is for its X-Accel-Redirect."""

AUTH: Final = "/auth"
"""Where NGINX's `auth_request` asks, without bodies."""

_QUIET: Final = 10.0
"""Seconds between two words about callers that are refused."""

_UNSEEN: Final = "what this route costs stands in its body, which is not shown here: it is shut"
_UNNAMED: Final = "the request names no model in the place that this gateway looks at: name one"


class _Way(Struct, frozen=True):
    """How a path is asked and answered."""

    http_of: Callable[[Received], HttpRequest]
    allowed: Callable[..., Reply]
    denied: Callable[..., Reply]
    has_body: bool


_WAYS: Final = {
    DECIDE: _Way(http_of, allowed, denied, has_body=True),
    AUTH: _Way(bodiless_of, auth_allowed, auth_denied, has_body=False),
}


class NginxService:
    """Answers requests. `token`: what callers must present, None: nothing."""

    def __init__(
        self,
        engine: Decider,
        options: HttpOptions,
        default_output: int,
        load: Load,
        token: str | None,
    ) -> None:
        self._engine = engine
        self._options = options
        self._default_output = default_output
        self._load = load
        self._token = None if token is None else token.encode()
        self._told = 0.0
        self.seconds = Histogram()

    def admit(self, head: Received) -> Reply | None:
        """Return why a request is not read any further, None if it is; its body comes later."""
        presented = head.headers.get(CALLER_TOKEN, "").encode()
        if self._token is not None and not hmac.compare_digest(presented, self._token):
            if monotonic() - self._told > _QUIET:
                self._told = monotonic()
                _log.warning("nginx refused: X-PDP-Caller-Token is missing or wrong")
            # Not 401: that would be about the key of NGINX's client, who cannot mend this.
            return refused("unavailable", "the gateway may not ask: its operator has to look")
        if head.path not in _WAYS:
            message = f"this port is for NGINX alone: use `{DECIDE}` or `{AUTH}`"
            return refused("route_not_allowed", message, status=404)
        return None

    def too_large(self, head: Received, most: int) -> Reply:
        """Refuse a body of more than `most` bytes, of which the rest is not read."""
        message = f"the request body is larger than {most:,} bytes: shorten it"
        request_id = head.headers.get(REQUEST_ID, "")[:256]
        decision = self._engine.deny("body_too_large", message, request_id, self._options.adapter)
        return _closing(_WAYS[head.path].denied(decision))

    def crowded(self, head: Received) -> Reply:
        """Refuse a body for which there is no room at the moment."""
        return _closing(self._undecided(head, OVERLOADED))

    def answer(self, received: Received) -> Reply | Awaitable[Reply]:
        """Decide a request that was admitted, without waiting where that can be."""
        if self._load.shedding:
            return self._undecided(received, OVERLOADED)
        start = perf_counter_ns()
        way = _WAYS[received.path]
        try:
            ask = self._ask(way, received)
            if isinstance(ask, Refusal):
                adapter = self._options.adapter
                decision = self._engine.deny(ask.reason, ask.message, ask.request_id, adapter)
                return self._timed(start, way.denied(decision, ask.param))
            answer = self._engine.check(ask.request)
            if isinstance(answer, Decision):
                return self._timed(start, self._reply(way, received, ask, answer))
        except Exception as error:
            return self._timed(start, self._failed(received, error))
        return self._later(start, way, received, ask, answer)

    def _ask(self, way: _Way, received: Received) -> Ask | Refusal:
        http = way.http_of(received)
        if not way.has_body and is_priced_by_body(http):
            return Refusal("route_not_allowed", _UNSEEN, received.headers.get(REQUEST_ID, "")[:256])
        ask = ask_of(http, self._options)
        if way.has_body:
            return ask
        if isinstance(ask, Refusal):
            unnamed = ask.param == "model" and not received.headers.get(MODEL)
            return Refusal(ask.reason, _UNNAMED, ask.request_id) if unnamed else ask
        strict = self._options.strict_estimate
        return Ask(unread_body(ask.request, received, strict_estimate=strict))

    async def _later(
        self,
        start: int,
        way: _Way,
        received: Received,
        ask: Ask,
        waiting: Awaitable[Decision],
    ) -> Reply:
        try:
            return self._timed(start, self._reply(way, received, ask, await waiting))
        except Exception as error:
            return self._timed(start, self._failed(received, error))

    def _reply(self, way: _Way, received: Received, ask: Ask, decision: Decision) -> Reply:
        if not decision.allowed:
            return way.denied(decision)
        undo = partial(self._engine.withdraw, decision)
        try:
            reference = reference_of(ask.request, decision, self._default_output)
            force = ask.force_usage and not received.headers.get(BODY_FILE)
            return way.allowed(decision, reference, force_usage=force, undo=undo)
        except Exception as error:
            failed = self._failed(received, error)
            return Reply(failed.status, failed.headers, failed.body, undo, void=True)

    def _failed(self, received: Received, error: Exception) -> Reply:
        log_defect(_log, "a request of nginx failed", error)
        return self._undecided(received)

    def _undecided(self, received: Received, *message: str) -> Reply:
        request_id = received.headers.get(REQUEST_ID, "")[:256]
        decision = self._engine.undecided(request_id, self._options.adapter, *message)
        return _WAYS[received.path].denied(decision)

    def _timed(self, start: int, reply: Reply) -> Reply:
        self.seconds.observe(perf_counter_ns() - start)
        return reply


def _closing(reply: Reply) -> Reply:
    return Reply(reply.status, reply.headers, reply.body, close=True)
