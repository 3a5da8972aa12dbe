"""A provider for tests: does what the model's name says, and remembers what it saw."""

import asyncio
import contextlib
import gzip
import json
from email.parser import BytesParser
from email.policy import HTTP
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
_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
}
_RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "gpt-4o", "output": []}
STREAMS: dict[str, list[dict[str, Any]]] = {
    "/v1/responses": [
        {"type": "response.created", "response": {**_RESPONSE, "usage": None}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.completed", "response": {**_RESPONSE, "usage": RESPONSES_USAGE}},
    ],
    "/v1/messages": [
        {
            "type": "message_start",
            "message": {**_MESSAGE, "usage": {**MESSAGES_USAGE, "output_tokens": 1}},
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "hi"},
        },
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 7},
        },
        {"type": "message_stop"},
    ],
}
ANSWERS: dict[str, dict[str, Any]] = {
    "/v1/responses": {**_RESPONSE, "usage": RESPONSES_USAGE},
    "/v1/messages": {
        **_MESSAGE,
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": MESSAGES_USAGE,
    },
    "/v1/embeddings": {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.125] * 200_000}],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    },
}
"""What each API says of its usage, in JSON and as events."""

MEDDLING: dict[str, str] = {
    "x-accel-redirect": "/v1/models",
    "x-accel-limit-rate": "1",
    "x-pdp-reference": "another",
    "x-request-id": "the provider's",
    "x-ratelimit-limit-requests": "999",
}
"""Headers by which a provider would give the proxy, or its clients, orders."""


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.get("model", ""),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def _odd(user: str, asked: dict[str, Any]) -> Response | None:
    """Return an answer that no provider should give."""
    if user == "error":
        return JSONResponse({"error": {"message": "boom"}}, 500)
    if user == "large":
        return JSONResponse({"data": "x" * 9_500_000, "usage": USAGE})
    if user == "repeat":  # As the Responses API repeats what it was asked.
        return JSONResponse(
            {
                **_RESPONSE,
                "instructions": asked["instructions"],
                "tools": asked["tools"],
                "usage": RESPONSES_USAGE,
                "metadata": asked["metadata"],
            }
        )
    if user == "gzip":
        packed = gzip.compress(json.dumps(_completion(asked)).encode())
        return Response(packed, 200, {"content-encoding": "gzip"}, "application/json")
    if user == "nonsense":
        return Response("{nonsense", media_type="application/json")
    if user == "meddle":
        return JSONResponse(_completion(asked), headers=MEDDLING)
    return None


def _told(path: str, asked: dict[str, Any], user: str) -> Response:
    """Return what an API of `ANSWERS` says, in JSON or as events."""
    if not asked.get("stream"):
        return JSONResponse(ANSWERS[path])
    events = STREAMS[path][: 3 if user == "broken" else None]
    lines = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    if user == "drip":
        return StreamingResponse(_drip(lines), media_type="text/event-stream")
    return Response(lines, media_type="text/event-stream")


async def _drip(text: str) -> Any:
    """Give a text away a byte at a time, each in a packet of its own."""
    for byte in text.encode():
        yield bytes([byte])
        await asyncio.sleep(0)


IMAGE = {"created": 1, "data": [{"b64_json": "aGk="}]}
IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1_056,
    "total_tokens": 1_106,
}
HEARD_USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
SPOKEN = b"sound" * 100


def other_answer(path: str, model: str) -> Response | None:
    """Return what the APIs beside chat answer; None for the others."""
    if path.startswith("/v1/images/"):
        told = {"usage": IMAGE_USAGE} if model.startswith("gpt-image") else {}
        return JSONResponse({**IMAGE, **told})
    if path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        heard: dict[str, Any] = (
            HEARD_USAGE if model.startswith("gpt") else {"type": "duration", "seconds": 9}
        )
        return JSONResponse({"text": "hi", "usage": heard})
    if path == "/v1/audio/speech":
        return Response(SPOKEN, media_type="audio/mpeg")
    if path == "/v1/moderations":
        return JSONResponse({"id": "modr-1", "model": model, "results": []})
    return None


async def _asked(request: Request, raw: bytes) -> dict[str, Any]:
    """Return the JSON of a body, or the text fields of a form."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        parts = BytesParser(policy=HTTP).parsebytes(
            b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + raw
        )
        return {
            str(part.get_param("name", header="content-disposition")): part.get_content()
            for part in parts.iter_parts()
            if part.get_filename() is None
        }
    found = json.loads(raw.decode()) if raw else {}
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004  As if it were no JSON.
    json.dumps(found, ensure_ascii=False).encode()
    return found


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
        try:
            asked = await _asked(request, raw)
        except (ValueError, RecursionError):
            return JSONResponse({"error": {"message": "no JSON", "code": "unread"}}, 400)
        self.seen.append(({**request.headers, ":path": request.url.path}, asked))
        user = asked.get("user", "")
        if user == "hang":
            await self._until_left(request)
        path = request.url.path
        if (odd := _odd(user, asked)) is not None:
            return odd
        if path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": "gpt-4o"}]})
        if path in ANSWERS:
            return _told(path, asked, user)
        if (other := other_answer(path, asked.get("model", ""))) is not None:
            return other
        if asked.get("stream"):
            events = self._events(asked, user)
            if user == "drip":
                events = _drip("".join([event async for event in events]))
            return StreamingResponse(events, media_type="text/event-stream")
        answer = _completion(asked)
        if user == "silent":
            del answer["usage"]
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
        endless, most = user == "endless", 3 if user == "breaks" else 5
        count = 0
        while count < most or endless:
            count += 1
            choice = {"index": 0, "delta": {"content": "y"}, "finish_reason": None}
            yield f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n"
            await asyncio.sleep(0.01)
        if user == "breaks":
            raise ConnectionAbortedError("the provider is gone")
        if user != "silent" and (asked.get("stream_options") or {}).get("include_usage"):
            longer = {"padding": "x" * 3_000_000} if user == "huge" else {}
            yield f"data: {json.dumps({**chunk, **longer, 'choices': [], 'usage': USAGE})}\n\n"
        yield "data: [DONE]\n\n"
