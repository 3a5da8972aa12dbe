"""The admin API as an ASGI application: from a request to its use case and back."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from pdp.control.access import authenticate
from pdp.control.plane import ControlPlane
from pdp.control.price_overrides import Override
from pdp.control.simulation import Rules
from pdp.errors import NotFound, Unavailable
from pdp.rest.answer import JSON, Answer, Stream
from pdp.rest.caller import origin_of, raw_key_of
from pdp.rest.content import decode_content, read_content
from pdp.rest.edge import Edge, Note
from pdp.rest.faults import HttpFault
from pdp.rest.openapi.document import openapi
from pdp.rest.operation import Call, Operation, Table
from pdp.rest.preconditions import if_match_of, once_of
from pdp.rest.query import read_query
from pdp.rest.routes import OPERATIONS

_DEADLINE: Final = 20.0
"""Seconds for a use case; the database gives up earlier."""

_AT_WORK: Final = 6
"""Requests in the database at once: the planes' own calls share its connections."""

_LONG_AT_WORK: Final = 2
"""Of those that read many rows: a Check whose key is asked for meanwhile waits its turn
behind each of them."""

_LONGEST_ID: Final = 64


class Shell(Struct, frozen=True):
    """What the application takes from the process that it runs in.

    `clock` gives ns since the epoch; `new_id` an id for a request; `defect` takes errors
    that nobody foresaw; `rules` is what simulations decide by; `file_prices` are those of the
    operator's file.
    """

    clock: Callable[[], int]
    new_id: Callable[[], str]
    defect: Callable[[Exception], None]
    rules: Rules
    trusted_hops: int = 0
    file_prices: tuple[Override, ...] = ()


def rest_app(plane: ControlPlane, shell: Shell) -> Edge:
    """Return the application over the use cases of a control plane."""
    return Edge(_Admin(plane, shell).handle, shell.new_id, shell.defect)


class _Admin:
    def __init__(self, plane: ControlPlane, shell: Shell) -> None:
        self._plane = plane
        self._shell = shell
        self._table = Table(OPERATIONS)
        self._at_work = asyncio.Semaphore(_AT_WORK)
        self._long_at_work = asyncio.Semaphore(_LONG_AT_WORK)
        self._document = b""

    async def handle(self, request: Request, note: Note) -> Answer | Stream | Response:
        """Return the answer to a request, or raise what is wrong with it."""
        path = request.scope["path"]
        if path == "/openapi.json":
            note.route = path
            return self._openapi(request)
        operation, key_id = self._table.find(request.method, path)
        note.route = operation.path
        try:
            return await self._run(operation, key_id, request, note)
        except TimeoutError as error:
            raise Unavailable("this took too long: try again") from error

    async def _run(
        self, operation: Operation, key_id: str, request: Request, note: Note
    ) -> Answer | Stream:
        raw_key = raw_key_of(request)
        origin = origin_of(request, note.request_id, self._shell.trusted_hops)
        async with asyncio.timeout(_DEADLINE), self._at_work:
            actor = await authenticate(
                self._plane.database, self._plane.pepper, raw_key, origin, self._shell.clock()
            )
        note.key_id = actor.key_id
        note.target = _checked(key_id)
        query = read_query(request.url.query, operation.parameters)
        content, body = b"", {}
        if operation.content is not None:
            optional = operation.content.optional
            content = await read_content(request, operation.content.types, optional=optional)
            body = decode_content(content, optional=optional)
        call = Call(
            plane=self._plane,
            rules=self._shell.rules,
            file_prices=self._shell.file_prices,
            actor=actor,
            request=request,
            now=self._shell.clock(),
            query=query,
            body=body,
            key_id=key_id,
            once=once_of(request, content) if operation.creates else None,
            if_match=if_match_of(request) if operation.guarded else None,
        )
        lane = self._long_at_work if operation.long else self._at_work
        async with asyncio.timeout(_DEADLINE), lane:
            return await operation.endpoint(call)

    def _openapi(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            message = "this path does not take that method: use GET"
            raise HttpFault("method_not_allowed", message, {"allow": "GET"})
        read_query(request.url.query, ())
        self._document = self._document or msgspec.json.encode(openapi(OPERATIONS))
        return Response(self._document, media_type=JSON)


def _checked(key_id: str) -> str:
    """Return the id of a path. Raises `NotFound` for what cannot be one, and does not repeat it."""
    if "vsk_" in key_id:
        raise NotFound("the path has an API key where a key's `id` belongs: use `id` of the key")
    if len(key_id) > _LONGEST_ID or not (key_id.isascii() and key_id.isprintable()):
        raise NotFound("there is nothing with such an id: use the `id` of an answer")
    return key_id
