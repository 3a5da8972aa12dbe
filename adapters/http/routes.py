"""Which paths are open, and what they do. Exact: whatever else a proxy lets through is denied."""

from typing import Final, Literal

from msgspec import Struct


class Route(Struct, frozen=True):
    """What a route does. `streaming` is the action when the body says `"stream": true`.

    `output_bounds` are the body fields that bound the output in tokens; `has_output`:
    there is output that is counted so. `form`: the body is multipart/form-data. `paid_by`:
    what may be paid for but tokens.
    """

    action: str
    streaming: str = ""
    output_bounds: tuple[str, ...] = ()
    has_output: bool = True
    has_body: bool = True
    form: bool = False
    paid_by: Literal["", "images", "characters", "seconds"] = ""


_MAKES_IMAGES: Final = Route("images:generate", paid_by="images")
_CHANGES_IMAGES: Final = Route("images:generate", paid_by="images", form=True)
_LISTENS: Final = Route("audio:transcribe", paid_by="seconds", form=True)

ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("POST", "/v1/chat/completions"): Route(
        "chat:completions", "chat:stream", ("max_tokens", "max_completion_tokens")
    ),
    ("POST", "/v1/messages"): Route("chat:completions", "chat:stream", ("max_tokens",)),
    ("POST", "/v1/responses"): Route(
        "responses:create", "responses:stream", ("max_output_tokens",)
    ),
    ("POST", "/v1/embeddings"): Route("embeddings:create", has_output=False),
    ("POST", "/v1/images/generations"): _MAKES_IMAGES,
    ("POST", "/v1/images/edits"): _CHANGES_IMAGES,
    ("POST", "/v1/images/variations"): _CHANGES_IMAGES,
    ("POST", "/v1/audio/speech"): Route("audio:speech", paid_by="characters"),
    ("POST", "/v1/audio/transcriptions"): _LISTENS,
    ("POST", "/v1/audio/translations"): _LISTENS,
    ("POST", "/v1/moderations"): Route("moderations:create", has_output=False),
    ("GET", "/v1/models"): Route("models:list", has_body=False),
}

OPENAI_CHAT: Final = "/v1/chat/completions"
"""The one path whose streams carry usage only when the request asks for it."""


def find_route(method: str, path: str) -> Route | None:
    """Return the route of a request; `path` is without its query."""
    return ROUTES.get((method, path))
