"""What the API can do: one table of these makes the routes, the checks and OpenAPI."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request

from pdp.control.access import Actor
from pdp.control.idempotency import Once
from pdp.control.plane import ControlPlane
from pdp.control.price_overrides import Override
from pdp.control.simulation import Rules
from pdp.rest.answer import Answer, Stream
from pdp.rest.content import JSON_TYPES
from pdp.rest.faults import HttpFault
from pdp.rest.query import Parameter


class Call(Struct, frozen=True):
    """One request, authenticated and read: what an endpoint works with.

    `rules` is what simulations decide by; `query` has the parameters that were given,
    parsed; `body` the JSON object, if the operation takes one; `key_id` comes from the
    path; `if_match` are the entity tags that the request is bound to; `now` in ns.
    """

    plane: ControlPlane
    rules: Rules
    actor: Actor
    request: Request
    now: int
    query: dict[str, Any]
    body: dict[str, Any]
    key_id: str
    once: Once | None
    if_match: Collection[str] | None
    file_prices: tuple[Override, ...] = ()

    def __repr__(self) -> str:
        """Say nothing of headers and body: a repr may end up anywhere."""
        return f"Call({self.request.method})"


Endpoint = Callable[[Call], Awaitable[Answer | Stream]]


class Content(Struct, frozen=True):
    """The body that an operation takes: its schema in OpenAPI, and examples by name.

    `optional`: it may be left out, which means `{}`.
    """

    schema: str
    examples: Mapping[str, Any]
    types: tuple[str, ...] = JSON_TYPES
    optional: bool = False


class Operation(Struct, frozen=True):
    """One method of one path. `answers` are its statuses beyond those that all have.

    `long`: it may read many rows. `creates`: it takes an Idempotency-Key. `guarded`: it
    takes If-Match.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    endpoint: Endpoint
    answer: str
    tag: str
    status: int = 200
    parameters: Sequence[Parameter] = ()
    content: Content | None = None
    answers: tuple[str, ...] = ()
    examples: Mapping[str, Any] = {}
    long: bool = False
    creates: bool = False
    guarded: bool = False
    versioned: bool = False
    headers: Sequence[str] = ()
    streams: Mapping[str, Any] = {}


ID: Final = "{id}"


class Table:
    """Finds the operation for a method and a path."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._paths: dict[tuple[str, ...], dict[str, Operation]] = {}
        for operation in operations:
            methods = self._paths.setdefault(_parts(operation.path), {})
            methods[operation.method] = operation

    def find(self, method: str, path: str) -> tuple[Operation, str]:
        """Return the operation and the id in the path, empty if it has none.

        Raises `HttpFault`: 404, 405.
        """
        parts = _parts(path)
        methods, key_id = self._paths.get(parts), ""
        if methods is None and len(parts) > 3 and parts[3]:
            methods, key_id = self._paths.get((*parts[:3], ID, *parts[4:])), parts[3]
        if methods is None or ID in parts:
            raise HttpFault("not_found", "there is no such path: see `/openapi.json`")
        found = methods.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = ", ".join(sorted(methods))
            message = f"this path does not take that method: use {allowed}"
            raise HttpFault("method_not_allowed", message, {"allow": allowed})
        return found, key_id


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("/"))
