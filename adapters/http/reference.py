"""What travels with an allowed request through the proxy, and comes back with its usage."""

import msgspec
from msgspec import Struct

from pdp.model import Decision, Request


class Reference(Struct, frozen=True, array_like=True, gc=False):
    """What the report of a request needs to know of its decision."""

    reservation_id: str
    key_id: str
    request_id: str
    prompt_tokens: int
    max_output: int
    streaming: bool
    action: str = ""


def reference_of(request: Request, decision: Decision, default_output: int) -> str:
    """Return the reference of an allowed request, as text."""
    reference = Reference(
        decision.reservation_id,
        decision.key_id,
        request.request_id,
        request.prompt_tokens,
        request.most_output(default_output),
        request.action.endswith(":stream"),
        request.action,
    )
    return msgspec.json.encode(reference).decode()


_reference = msgspec.json.Decoder(Reference)


def parse_reference(text: str) -> Reference | None:
    """Return a reference from its text; None if it is not one of ours."""
    try:
        return _reference.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None
