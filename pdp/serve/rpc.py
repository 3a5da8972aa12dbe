"""Around every RPC: who may call, how long it took, how it ended."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic, perf_counter_ns
from typing import Any, Protocol, runtime_checkable

import grpc
import structlog
from msgspec import Struct

from pdp.serve.histogram import Histogram

_log = structlog.get_logger(__name__)

_QUIET = 10.0
"""Seconds between two words about callers that are refused."""

Behavior = Callable[[Any, Any], Any]


class MethodStats:
    """Counts of one RPC method, with the label values of grpc-ecosystem's metrics."""

    __slots__ = ("handled", "method", "seconds", "service", "started", "type")

    def __init__(self, type_: str, service: str, method: str) -> None:
        self.type = type_
        self.service = service
        self.method = method
        self.started = 0
        self.handled: dict[str, int] = {}
        self.seconds = Histogram()

    def done(self, code: str, start: int) -> None:
        """Count a call that ended with `code`; `start` is its `perf_counter_ns`."""
        self.handled[code] = self.handled.get(code, 0) + 1
        self.seconds.observe(perf_counter_ns() - start)


class Answer(Struct, frozen=True, gc=False):
    """A response message, or its bytes, and what to undo (None: nothing) if its caller is gone.

    `void`: the message does not say what was decided, so that is undone in any case.
    """

    message: Any
    undo: Callable[[], Any] | None = None
    void: bool = False


def encoded(message: Any) -> bytes:
    """Return the bytes of a response message, which may be made already. Serializes answers."""
    if isinstance(message, bytes):
        return message
    data: bytes = message.SerializeToString()
    return data


class Shortcut(Struct, frozen=True):
    """Answers a request at once, or later, or not at all (None: it takes the long way).

    `token` is what its callers must present, None: nothing. See pdp/serve/fast.py.
    """

    answer: Callable[[Any], Answer | Awaitable[Answer] | None]
    stats: MethodStats
    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]
    token: bytes | None = None


@runtime_checkable
class TakesShortcuts(Protocol):
    """A server that has a short way."""

    def add_shortcut(self, path: str, shortcut: Shortcut) -> None:
        """Answer the calls of a method (`/service/Method`) by a shortcut."""
        ...


@runtime_checkable
class KnowsCallers(Protocol):
    """A server with something in front of it, which is its calls' peer."""

    def caller(self, peer: str) -> str:
        """Return who is behind a call's peer."""
        ...


class MeteredServer:
    """Stands in for a server while services are added, and wraps their handlers.

    `caller_token`: when given, callers must present it as a bearer token, but for
    health checks. Those, and reflection, which goes around this, say nothing of anybody.
    """

    def __init__(self, server: Any, caller_token: str | None) -> None:
        self._server = server
        self._token = None if caller_token is None else caller_token.encode()
        self._caller = server.caller if isinstance(server, KnowsCallers) else str
        self._added: dict[str, tuple[MethodStats, Any]] = {}
        self.methods: list[MethodStats] = []

    def offer(
        self,
        service: str,
        method: str,
        answer: Callable[[Any], Answer | Awaitable[Answer] | None],
    ) -> None:
        """Offer a short way for a method of a service that was added; raises `KeyError`.

        A server without short ways goes on without.
        """
        path = f"/{service}/{method}"
        stats, handler = self._added[path]
        if isinstance(self._server, TakesShortcuts):
            decode = handler.request_deserializer
            self._server.add_shortcut(path, Shortcut(answer, stats, decode, encoded, self._token))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """Wrap and pass on, both ways: each transport picks the one it serves."""
        wrapped = {
            name: self._wrap(service_name, name, handler)
            for name, handler in method_handlers.items()
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service_name, wrapped),)
        )
        self._server.add_registered_method_handlers(service_name, wrapped)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Ignore: the registered ones are passed on in this form as well."""

    def _wrap(self, service: str, name: str, handler: Any) -> Any:
        kind = {
            (False, False): "unary",
            (True, False): "client_stream",
            (False, True): "server_stream",
            (True, True): "bidi_stream",
        }[handler.request_streaming, handler.response_streaming]
        stats = MethodStats(kind, service, name)
        self.methods.append(stats)
        self._added[f"/{service}/{name}"] = stats, handler
        make = _MAKERS[handler.request_streaming, handler.response_streaming]
        behavior = getattr(handler, make.__name__.removesuffix("_rpc_method_handler"))
        if not handler.response_streaming:
            behavior = _metered(behavior, stats)
        if self._token is not None and not service.startswith("grpc.health."):
            streaming = handler.response_streaming
            behavior = _guarded(behavior, self._token, self._caller, streaming=streaming)
        return make(
            behavior,
            request_deserializer=handler.request_deserializer,
            response_serializer=encoded,
        )


_MAKERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _metered(behavior: Behavior, stats: MethodStats) -> Behavior:
    async def metered(request: Any, context: Any) -> Any:
        stats.started += 1
        start = perf_counter_ns()
        code = "Unknown"
        try:
            answer = await behavior(request, context)
            code = "OK"
        except grpc.aio.AbortError:
            code = _name(context.code())
            raise
        except BaseException as error:
            code = "Unknown" if isinstance(error, Exception) else "Canceled"
            raise
        finally:
            stats.done(code, start)
        return answer

    return metered


def _guarded(
    behavior: Behavior, token: bytes, caller: Callable[[str], str], *, streaming: bool
) -> Behavior:
    told = 0.0

    async def refuse(context: Any) -> None:
        nonlocal told
        if monotonic() - told > _QUIET:
            told = monotonic()
            peer = caller(context.peer())
            _log.warning("caller refused: its token is missing or wrong", peer=peer)
        await context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            "caller token missing or wrong: send `authorization: Bearer <PDP_CALLER_TOKEN>`",
        )

    async def guarded(request: Any, context: Any) -> Any:
        if not presents(context.invocation_metadata(), token):
            await refuse(context)
        return await behavior(request, context)

    async def guarded_stream(request: Any, context: Any) -> Any:
        if not presents(context.invocation_metadata(), token):
            await refuse(context)
        async for message in behavior(request, context):
            yield message

    return guarded_stream if streaming else guarded


def presents(metadata: Any, token: bytes) -> bool:
    """Tell whether call metadata carries the caller token, in constant time."""
    for key, value in metadata or ():
        if key == "authorization":
            text = value.encode() if isinstance(value, str) else value
            scheme, _, given = text.partition(b" ")
            return scheme.lower() == b"bearer" and hmac.compare_digest(given, token)
    return False


def is_gone(context: Any) -> bool:
    """Tell whether a call's caller no longer waits for its answer."""
    remaining = context.time_remaining()
    return context.cancelled() or (remaining is not None and remaining <= 0)


async def settled(answer: Any) -> None:
    """Wait for an answer of the engine that may be there already."""
    if isinstance(answer, Awaitable):
        await answer


def _name(code: grpc.StatusCode | None) -> str:
    """Return a status code as grpc-ecosystem's metrics write it: `InvalidArgument`."""
    if code is None:
        return "Unknown"
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.title() for part in code.name.split("_"))
