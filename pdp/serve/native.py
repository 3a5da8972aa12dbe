"""What is used of pygrpc-native beyond its public interface, under plain names.

The one module that knows its inside. Its release is pinned in pyproject.toml for that
reason: with a new one, compare `aio.Server._on_events` and run tests/wire.
"""

from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any, Final

from pygrpc_native._native import EVENT_CALL, NativeGrpcFront
from pygrpc_native.aio import Server, _Call

from pdp.serve.driven import Driven

CALL: Final[int] = EVENT_CALL
"""The kind of an event that is a call; the other kind is a cancellation."""

Details = tuple[tuple[tuple[str, str | bytes], ...], str, float | None]
"""(metadata, peer, seconds until the deadline)."""

Event = tuple[int, int, int, bytes, object, Details]
"""(kind, call id, method id, payload, unused, details); a cancellation has only the first two."""


class NativeServer(Server):
    """The library's server, with its inside for who takes events in its place."""

    def on_events(self, events: list[Event], received: int) -> None:
        """Take calls and cancellations that came in together, each call in a task of its own.

        `received`: when, in ns of `perf_counter_ns`; the loop may have stood still since.
        """
        waited = (perf_counter_ns() - received) / 1e9
        super()._on_events([_aged(event, waited) for event in events])

    def _dispatch(self) -> None:
        """Pass events to the loop, as the library does, and say when they came."""
        loop, front = self._loop, self.front
        assert loop is not None, "it is started"
        take: Callable[..., None] = self.on_events
        while (events := front.recv_batch_details(64)) is not None:
            try:
                loop.call_soon_threadsafe(take, events, perf_counter_ns())
            except RuntimeError:  # The loop was closed without a stop.
                front.close()
                return

    @property
    def front(self) -> NativeGrpcFront:
        """The HTTP/2 side: answers calls by their id. There is one once a port is bound."""
        assert self._front is not None, "a port is bound before calls come"
        return self._front

    @property
    def paths(self) -> list[str]:
        """`/service/Method` by method id, once started."""
        return [path for path, _ in self._table]

    @property
    def stopping(self) -> bool:
        """Tell whether new calls are refused."""
        return self._stopping

    @property
    def receive_limit(self) -> int | None:
        """Bytes that a message may have."""
        return self._receive_limit

    def spawn(
        self,
        call_id: int,
        method_id: int,
        details: Details,
        work: Coroutine[Any, Any, None],
        cancelled: Callable[[], None],
    ) -> None:
        """Run what answers a call later; the library's cancellations and its stop find it.

        `cancelled` is called if they did.
        """
        path, handler = self._table[method_id]
        call = _Call(call_id, path, handler, *details)
        self._calls[call_id] = call

        def ended(is_cancelled: bool) -> None:
            self._calls.pop(call_id, None)
            if is_cancelled:
                cancelled()

        driven = Driven(work, ended)
        call.task = driven  # type: ignore[assignment]
        driven.start()


def _aged(event: Event, waited: float) -> Event:
    """Return an event with what is left until its deadline after so many seconds."""
    if event[0] != CALL:
        return event
    metadata, peer, remaining = event[5]
    return (*event[:5], (metadata, peer, None if remaining is None else remaining - waited))
