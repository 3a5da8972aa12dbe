"""The routes that may pass: exact method and canonical path, nothing else.

Pure. What is not in the table is denied whatever the policy says, so that no
spelling of a path that an upstream might understand can go around a policy.
"""

from typing import Final

from msgspec import Struct


class Route(Struct, frozen=True):
    """What a route does. `streaming` is the action when the body says `"stream": true`.

    `output_bounds` are the body fields that bound the output in tokens; `has_output`:
    there is output that is counted so.
    """

    action: str
    streaming: str = ""
    output_bounds: tuple[str, ...] = ()
    has_output: bool = True
    has_body: bool = True


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("POST", "/v1/chat/completions"): Route(
        "chat:completions", "chat:stream", ("max_tokens", "max_completion_tokens")
    ),
    ("POST", "/v1/messages"): Route("chat:completions", "chat:stream", ("max_tokens",)),
    ("POST", "/v1/responses"): Route(
        "responses:create", "responses:stream", ("max_output_tokens",)
    ),
    ("POST", "/v1/embeddings"): Route("embeddings:create", has_output=False),
    ("POST", "/v1/images/generations"): Route("images:generate"),
    ("POST", "/v1/audio/speech"): Route("audio:speech"),
    ("POST", "/v1/moderations"): Route("moderations:create", has_output=False),
    ("GET", "/v1/models"): Route("models:list", has_body=False),
}

OPENAI_CHAT: Final = "/v1/chat/completions"
"""The one path whose streams carry usage only when the request asks for it."""


def find_route(method: str, path: str) -> Route | None:
    """Return the route of a request; `path` is without its query."""
    return ROUTES.get((method, path))
