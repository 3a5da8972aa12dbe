"""From an HTTP request to what the engine is asked, or why there is nothing to ask. Pure."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from adapters.http.body import BadBody, Body, parse_body
from adapters.http.form import parse_form
from adapters.http.routes import OPENAI_CHAT, Route, find_route
from adapters.http.size import Size, size_of_form, size_of_json
from pdp.credentials import BadCredentials, api_key_of
from pdp.forwarded import client_address
from pdp.model import Request
from pdp.quota.estimate import prompt_tokens_of_bytes
from pdp.refusal import MISSING_KEY

_JSON: Final = "application/json"
_NOTHING: Final = Size(0)


class HttpRequest(Struct, frozen=True, gc=False):
    """A request as a proxy shows it; header names in lower case, `path` with its query.

    `partial`: the proxy sent only a part of the body. `provider` is the route's own, empty
    where the model name tells it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: str
    provider: str = ""
    partial: bool = False


class HttpOptions(Struct, frozen=True):
    """`trusted_hops`: proxies before ours; `strict_estimate`: a prompt token a byte.

    `adapter` names who asks, in metrics.
    """

    adapter: str
    trusted_hops: int = 0
    strict_estimate: bool = False


class Ask(Struct, frozen=True, gc=False):
    """A request that can be decided. `force_usage`: its stream would not tell its usage."""

    request: Request
    force_usage: bool = False


_NOT_OPEN: Final = (
    "this method and path are not open here: use one that is, such as "
    "`POST /v1/chat/completions` or `GET /v1/models`, spelled exactly"
)


class Refusal(Struct, frozen=True):
    """A request that is denied before any key is looked at. `param` names a body field."""

    reason: str
    message: str
    request_id: str
    param: str | None = None


def ask_of(http: HttpRequest, options: HttpOptions) -> Ask | Refusal:
    """Return what to ask the engine, or why there is nothing to ask."""
    headers = http.headers
    request_id = headers.get("x-request-id", "")[:256]
    path, _, query = http.path.partition("?")
    route = find_route(http.method, path)
    if route is None:
        return Refusal("route_not_allowed", _NOT_OPEN, request_id)
    try:
        api_key = api_key_of(headers, query)
    except BadCredentials as error:
        return Refusal("invalid_api_key", str(error), request_id)
    if not api_key:
        return Refusal(MISSING_KEY.reason, MISSING_KEY.message, request_id)
    body, size = None, _NOTHING
    if route.has_body:
        try:
            body, size = _body_of(http, route, options)
        except BadBody as error:
            return Refusal("invalid_request", str(error), request_id, error.param)
    elif http.body:
        size = Size(prompt_tokens_of_bytes(len(http.body), options.strict_estimate))
    return _ask(http, options, route, path, api_key, request_id, body, size)


def _body_of(http: HttpRequest, route: Route, options: HttpOptions) -> tuple[Body, Size]:
    content_type = http.headers.get("content-type", _JSON)
    if not route.form and content_type != _JSON and not _is_json(content_type):
        raise BadBody("the body is not JSON: send `content-type: application/json`, in UTF-8")
    if http.partial:
        raise BadBody("the proxy sends only a part of the body: set allow_partial_message to false")
    encoding = http.headers.get("content-encoding")
    if encoding and encoding.strip().lower() not in ("", "identity"):
        raise BadBody("the body is compressed: send it without content-encoding")
    if route.form:
        form = parse_form(http.body, content_type)
        body, size = form.body, size_of_form(form, route, options.strict_estimate)
    else:
        spoken = "input" if route.paid_by == "characters" else ""
        body = parse_body(http.body, route.output_bounds, spoken)
        size = size_of_json(len(http.body), body, route, options.strict_estimate)
    if not body.model:
        raise BadBody("the body names no model: add `model`", "model")
    return body, size


def _is_json(content_type: str) -> bool:
    kind, _, parameters = content_type.lower().partition(";")
    return kind.strip() == _JSON and (not parameters or _is_utf8(parameters))


def _is_utf8(parameters: str) -> bool:
    """Tell whether the parameters of a content type leave no doubt that the text is UTF-8.

    Some servers also read `charset = x` and `charset*=x`.
    """
    told = [one for one in parameters.split(";") if "charset" in one]
    return not told or [one.strip().replace('"', "") for one in told] == ["charset=utf-8"]


def _ask(
    http: HttpRequest,
    options: HttpOptions,
    route: Route,
    path: str,
    api_key: str,
    request_id: str,
    body: Body | None,
    size: Size,
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
            http.provider,
            client_address(http.peer, headers.get("x-forwarded-for", ""), options.trusted_hops),
            headers.get("user-agent", ""),
            size.prompt_tokens,
            max_output,
            None,
            False,
            options.adapter,
            choices,
            size.units,
        ),
        force,
    )
