"""Remembers every request that arrives at a server, whatever the server makes of it."""

from msgspec import Struct
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Arrival(Struct):
    """A request as it stood on the wire; header names in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str:
        """Return the values of a header, joined; empty if it is not there."""
        return ",".join(value for found, value in self.headers if found == name)


class Witness:
    """ASGI middleware. A request is in `arrivals` before anybody reads its body."""

    def __init__(self, app: ASGIApp, arrivals: list[Arrival]) -> None:
        self._app = app
        self._arrivals = arrivals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        arrival = Arrival(
            scope["method"],
            scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
            [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]],
        )
        self._arrivals.append(arrival)

        async def remember() -> Message:
            message = await receive()
            arrival.body += message.get("body", b"")
            return message

        await self._app(scope, remember, send)
