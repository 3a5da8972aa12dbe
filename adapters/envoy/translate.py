"""Envoy's words to ours and back. Pure: no protobuf, no clock, no I/O."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from adapters.envoy.body import BadBody, Body, parse_body
from adapters.envoy.routes import OPENAI_CHAT, Route, find_route
from pdp.credentials import CREDENTIAL_HEADERS, BadCredentials, api_key_of
from pdp.forwarded import client_address
from pdp.model import Decision, Request
from pdp.quota.estimate import prompt_tokens_of_bytes
from pdp.reasons import REASONS
from pdp.refusal import MISSING_KEY

FORCE_USAGE: Final = "x-pdp-force-usage"
"""Request header that sends a stream over the route which asks for its usage."""

STRIPPED: Final = (*CREDENTIAL_HEADERS, FORCE_USAGE)
"""What never reaches the provider; the route adds the provider's own credentials after."""


PARTIAL_BODY: Final = "x-envoy-auth-partial-body"
"""Envoy's own header: `true` when the body that it sends is cut off."""

_JSON: Final = "application/json"


class HttpRequest(Struct, frozen=True, gc=False):
    """A request as Envoy shows it; header names in lower case, `path` with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: str
    extensions: Mapping[str, str]


class EnvoyOptions(Struct, frozen=True):
    """`trusted_hops`: proxies before Envoy; `strict_estimate`: a prompt token a byte."""

    trusted_hops: int = 0
    strict_estimate: bool = False


class Reference(Struct, frozen=True, array_like=True, gc=False):
    """What the access log needs to know of the decision; travels in Envoy's metadata."""

    reservation_id: str
    key_id: str
    request_id: str
    prompt_tokens: int
    max_output: int
    streaming: bool


class Ask(Struct, frozen=True, gc=False):
    """A request that can be decided. `force_usage`: its stream would not tell its usage."""

    request: Request
    force_usage: bool = False


class Refusal(Struct, frozen=True):
    """A request that is denied before any key is looked at. `param` names a body field."""

    reason: str
    message: str
    request_id: str
    param: str | None = None


def ask_of(http: HttpRequest, options: EnvoyOptions) -> Ask | Refusal:
    """Return what to ask the engine, or why there is nothing to ask."""
    headers = http.headers
    request_id = headers.get("x-request-id", "")[:256]
    path, _, query = http.path.partition("?")
    route = find_route(http.method, path)
    if route is None:
        message = "this method and path are not open here: spell a listed route exactly"
        return Refusal("route_not_allowed", message, request_id)
    try:
        api_key = api_key_of(headers, query)
    except BadCredentials as error:
        return Refusal("invalid_api_key", str(error), request_id)
    if not api_key:
        return Refusal(MISSING_KEY.reason, MISSING_KEY.message, request_id)
    body = None
    if route.has_body:
        try:
            body = _body_of(http, route)
        except BadBody as error:
            return Refusal("invalid_request", str(error), request_id, error.param)
    return _ask(http, options, route, path, api_key, request_id, body)


def _body_of(http: HttpRequest, route: Route) -> Body:
    kind, _, parameters = http.headers.get("content-type", _JSON).lower().partition(";")
    if kind.strip() != _JSON or (parameters and not _is_utf8(parameters)):
        raise BadBody("the body is not JSON: send `content-type: application/json`, in UTF-8")
    if http.headers.get(PARTIAL_BODY, "false") != "false":
        raise BadBody("the proxy sends only a part of the body: set allow_partial_message to false")
    encoding = http.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise BadBody("the body is compressed: send it without content-encoding")
    body = parse_body(http.body, route.output_bounds)
    if not body.model:
        raise BadBody("the body names no model: add `model`", "model")
    return body


def _is_utf8(parameters: str) -> bool:
    """Tell whether the parameters of a content type leave no doubt that the text is UTF-8.

    Some servers also read `charset = x` and `charset*=x`.
    """
    told = [one for one in parameters.split(";") if "charset" in one]
    return not told or [one.strip().replace('"', "") for one in told] == ["charset=utf-8"]


def _ask(
    http: HttpRequest,
    options: EnvoyOptions,
    route: Route,
    path: str,
    api_key: str,
    request_id: str,
    body: Body | None,
) -> Ask:
    headers = http.headers
    action, model, choices, force = route.action, "", 1, False
    max_output: int | None = 0
    if body is not None:
        model, choices = body.model, body.choices
        max_output = body.max_output if route.has_output else 0
        if body.stream and route.streaming:
            action = route.streaming
            force = path == OPENAI_CHAT and not body.include_usage
    return Ask(
        Request(
            request_id,
            api_key,
            action,
            model,
            http.extensions.get("provider", ""),
            client_address(http.peer, headers.get("x-forwarded-for", ""), options.trusted_hops),
            headers.get("user-agent", ""),
            prompt_tokens_of_bytes(len(http.body), options.strict_estimate),
            max_output,
            None,
            False,
            "envoy",
            choices,
        ),
        force,
    )


def reference_of(ask: Ask, decision: Decision, default_output: int) -> str:
    """Return the reference of an allowed request, as text."""
    request = ask.request
    reference = Reference(
        decision.reservation_id,
        decision.key_id,
        request.request_id,
        request.prompt_tokens,
        request.most_output(default_output),
        request.action.endswith(":stream"),
    )
    return msgspec.json.encode(reference).decode()


_reference = msgspec.json.Decoder(Reference)


def parse_reference(text: str) -> Reference | None:
    """Return a reference from its text; None if it is not one of ours."""
    try:
        return _reference.decode(text)
    except msgspec.MsgspecError:
        return None


def denial_of(decision: Decision, param: str | None) -> tuple[int, dict[str, str], str]:
    """Return (status, headers, OpenAI-shaped body) of a denial."""
    error = {
        "message": decision.message,
        "type": REASONS[decision.reason].error_type,
        "param": param,
        "code": decision.reason,
    }
    headers = {"content-type": "application/json", **decision.response_headers}
    return decision.http_status, headers, msgspec.json.encode({"error": error}).decode()


def estimated_tokens(response_bytes: int, most: int) -> int:
    """Return output tokens of a response whose usage nobody told: a token in 4 bytes, bounded."""
    return min(most, math.ceil(response_bytes / 4))
