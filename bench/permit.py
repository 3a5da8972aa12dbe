"""An empty handler behind the port that NGINX asks: it lets everything through.

    .venv/bin/python -m bench.permit

What any authorizer would add that speaks HTTP from this Python. Prints its address.
"""

import asyncio

import uvloop

from adapters.nginx.answer import LLM, REDIRECT, REFERENCE, Reply
from adapters.nginx.bounds import Bounds
from adapters.nginx.question import Received
from adapters.nginx.server import NginxServer

_REPLY = Reply(200, {REDIRECT: LLM, REFERENCE: "[]"})


class Permit:
    """Answers, and looks at nothing."""

    def admit(self, head: Received) -> Reply | None:
        return None

    def too_large(self, head: Received, most: int) -> Reply:
        return Reply(413)

    def crowded(self, head: Received) -> Reply:
        return Reply(503)

    def answer(self, received: Received) -> Reply:
        return _REPLY


async def main() -> None:
    server = NginxServer("127.0.0.1:0", Permit(), Bounds())
    await server.start()
    print(server.address, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
