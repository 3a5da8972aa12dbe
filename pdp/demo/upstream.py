"""A stand-in for an LLM provider: OpenAI-shaped, JSON and SSE, with honest usage.

    python -m pdp.demo.upstream PORT

A token is four characters here, in what it reads and in what it writes.
"""

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_WORDS = ("tide ", "moon ", "rock ", "salt ", "gull ", "sand ", "wave ", "fish ")
_USUAL_LENGTH = 24


async def chat(request: Request) -> Response:
    """Answer POST /v1/chat/completions."""
    asked = await request.json()
    prompt = sum(_tokens(str(message.get("content", ""))) for message in asked["messages"])
    bound = asked.get("max_completion_tokens") or asked.get("max_tokens")
    long = any("essay" in str(message.get("content", "")) for message in asked["messages"])
    length = bound if long and bound else min(bound or _USUAL_LENGTH, _USUAL_LENGTH)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": length,
        "total_tokens": prompt + length,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    if asked.get("stream"):
        include = bool((asked.get("stream_options") or {}).get("include_usage"))
        events = _events(asked["model"], length, usage if include else None)
        return StreamingResponse(events, media_type="text/event-stream")
    return JSONResponse(
        {
            "id": "chatcmpl-demo",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _text(length)},
                    "finish_reason": "stop",
                }
            ],
            "usage": usage,
        }
    )


async def models(_: Request) -> Response:
    """Answer GET /v1/models."""
    return JSONResponse({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})


async def _events(model: str, length: int, usage: dict[str, Any] | None) -> AsyncIterator[str]:
    chunk = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": model}
    for index in range(length):
        word = _WORDS[index % len(_WORDS)]
        choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
        yield _event({**chunk, "choices": [choice]})
    if usage is not None:
        yield _event({**chunk, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _text(length: int) -> str:
    return "".join(_WORDS[index % len(_WORDS)] for index in range(length))


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)


app = Starlette(
    routes=[
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
    ]
)

if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("usage: python -m pdp.demo.upstream PORT")
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
