"""A provider for tests: does what the model's name says, and remembers what it saw."""

import asyncio
import contextlib
import json
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pdp.serve.http import HttpServer
from tests.witness import Arrival, Witness

USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
}


RESPONSES_USAGE = {
    "input_tokens": 11,
    "output_tokens": 7,
    "total_tokens": 18,
    "input_tokens_details": {"cached_tokens": 4},
}
MESSAGES_USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "output_tokens": 7,
}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "/v1/responses": [
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.completed", "response": {"usage": RESPONSES_USAGE}},
    ],
    "/v1/messages": [
        {"type": "message_start", "message": {"usage": {**MESSAGES_USAGE, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "message_delta", "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ],
}
ANSWERS: dict[str, dict[str, Any]] = {
    "/v1/responses": {"object": "response", "usage": RESPONSES_USAGE},
    "/v1/messages": {"type": "message", "usage": MESSAGES_USAGE},
}
"""What each API says of its usage, in JSON and as events."""


class Provider:
    """Serves in this event loop; `seen` has (headers, body) of each request that it understands.

    `arrivals` are all requests, also of other methods and with bodies that are not JSON.
    """

    def __init__(self, port: int = 0) -> None:
        self.seen: list[tuple[dict[str, str], Any]] = []
        self.arrivals: list[Arrival] = []
        app = Starlette(
            routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])],
            middleware=[Middleware(Witness, self.arrivals)],
        )
        self._server = HttpServer(app, f"127.0.0.1:{port}", "test")

    @property
    def port(self) -> int:
        return int(self._server.address.rpartition(":")[2])

    def start(self) -> None:
        self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        asked = json.loads(raw) if raw else {}
        self.seen.append(({**request.headers, ":path": request.url.path}, asked))
        user = asked.get("user", "")
        if user == "error":
            return JSONResponse({"error": {"message": "boom"}}, 500)
        if user == "hang":
            await self._until_left(request)
        if user == "large":
            return JSONResponse({"data": "x" * 9_500_000, "usage": USAGE})
        path = request.url.path
        if path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": "gpt-4o"}]})
        if path in STREAMS:
            if not asked.get("stream"):
                return JSONResponse(ANSWERS[path])
            events = STREAMS[path][: 2 if user == "broken" else None]
            lines = "".join(
                f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events
            )
            return Response(lines, media_type="text/event-stream")
        if asked.get("stream"):
            return StreamingResponse(self._events(asked, user), media_type="text/event-stream")
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked.get("model", ""),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "hi"},
                    "finish_reason": "stop",
                }
            ],
        }
        if user != "silent":
            answer["usage"] = USAGE
        return JSONResponse(answer)

    async def _until_left(self, request: Request) -> None:
        """Wait until who asked has gone away, a minute at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while (await request.receive())["type"] != "http.disconnect":
                    pass

    async def _events(self, asked: dict[str, Any], user: str) -> Any:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": asked["model"],
        }
        endless = user == "endless"
        count = 0
        while count < 5 or endless:
            count += 1
            choice = {"index": 0, "delta": {"content": "y"}, "finish_reason": None}
            yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
            await asyncio.sleep(0.01)
        if (asked.get("stream_options") or {}).get("include_usage"):
            yield f"data: {json.dumps({**chunk, 'choices': [], 'usage': USAGE})}\n\n"
        yield "data: [DONE]\n\n"
