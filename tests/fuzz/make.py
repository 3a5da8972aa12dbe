"""Inputs for each entry point: what real senders send, then bent in every layer."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from adapters.envoy.v1 import wire_pb2 as envoy
from pdp.actions import ACTIONS
from pdp.v1 import policy_decision_pb2 as pdp
from tests.fuzz.bodies import BODIES, CHAT, MODELS
from tests.fuzz.forms import make_form
from tests.fuzz.messages import on_the_wire
from tests.fuzz.mutate import mutate_bytes, mutate_tree, random_bytes, tree_of, write
from tests.fuzz.world import SECRETS, STRANGER, World

_ADDRESSES: Final = ("203.0.113.7", "198.51.100.1", "::ffff:203.0.113.7", "2001:db8::1", "", "x")
_IDS: Final = ("", "r1", "r2", "r3", "a b%\r\n", "é" * 300, "0f9a-11")


def some(rng: Random, values: Any, odds: float) -> Any:
    """Return the first of the values, but at the odds any of them."""
    return rng.choice(values) if rng.random() < odds else values[0]


# -- ext_authz


def make_authorization(rng: Random, world: World) -> bytes:
    path, body = rng.choice(BODIES)
    return _authorization(rng, world, path, "", lambda: _body(rng, body))


def make_form_authorization(rng: Random, world: World) -> bytes:
    """Return a request whose body is a form."""
    path, content_type, data = make_form(rng)
    return _authorization(rng, world, path, content_type, lambda: data)


def _authorization(
    rng: Random, world: World, path: str, content_type: str, body: Callable[[], bytes]
) -> bytes:
    message = envoy.CheckRequest()
    http = message.attributes.request.http
    http.method = some(rng, ("POST", "GET", "post", "PUT", "OPTIONS", "", "POST "), 0.05)
    if rng.random() < 0.05:
        http.method, path = "GET", "/v1/models"
    http.path = _bent_path(rng, path) if rng.random() < 0.15 else path
    for name, value in _headers(rng, world).items():
        http.headers[name] = value
    if content_type:
        http.headers["content-type"] = content_type
    data = b"" if http.method == "GET" else body()
    _put_body(rng, http, data)
    message.attributes.source.address.socket_address.address = some(rng, _ADDRESSES, 0.3)
    if rng.random() < 0.7:
        providers = ("openai", "anthropic", "unknown", "OPENAI", "open ai", "p" * 300)
        message.attributes.context_extensions["provider"] = some(rng, providers, 0.1)
    return on_the_wire(rng, message)


def _put_body(rng: Random, http: Any, data: bytes) -> None:
    if rng.random() < 0.7:
        http.raw_body = data
        if rng.random() < 0.02:
            http.body = '{"model":"gpt-3.5-turbo"}'
    else:
        http.body = data.decode(errors="replace")
    http.size = len(data)


def _body(rng: Random, body: dict[str, Any]) -> bytes:
    kind = rng.random()
    if kind < 0.02:
        return random_bytes(rng, 300)
    tree = tree_of(body)
    if rng.random() < 0.3:
        tree.of = [(name, rng.choice(MODELS) if name == "model" else v) for name, v in tree.of]
    if kind < 0.45:
        tree = mutate_tree(rng, tree)
    data = write(rng, tree, some(rng, (0.0, 0.05, 0.5), 0.5))
    if kind > 0.8:
        data = mutate_bytes(rng, data)
    if kind > 0.99:
        data = rng.choice((data.decode(errors="replace").encode("utf-16"), b"\xef\xbb\xbf" + data))
    return data


def _bent_path(rng: Random, path: str) -> str:
    bend = rng.choice(_PATHS)
    return bend(path)


def _query(text: str) -> Callable[[str], str]:
    return lambda path: f"{path}?{text}"


_PATHS: Final[tuple[Callable[[str], str], ...]] = (
    _query("beta=true"),
    _query("api-version=1&x=%00"),
    _query(f"key={SECRETS['open']}"),
    _query(f"x={SECRETS['open']}"),
    _query(SECRETS["open"]),
    _query(f"x=Bearer+{SECRETS['open']}"),
    _query("a;api_key=1"),
    _query("API_KEY="),
    _query("&".join(f"a{n}=1" for n in range(101))),
    _query("%"),
    _query("vsk%5Fprod=1&y=vsk%5fprod_1"),
    str.upper,
    lambda path: path + "/",
    lambda path: path + "%20",
    lambda path: path + ";x=1",
    lambda path: path + "#fragment",
    lambda path: path + "\x00",
    lambda path: "/" + path,
    lambda path: path.replace("/v1/", "/v1/./"),
    lambda path: path.replace("/v1/", "/v1/x/../"),
    lambda path: path.replace("/v1/", "/v1%2f"),
    lambda path: path.replace("o", "%6f"),
    lambda path: path.replace("/", "\\"),
    lambda path: "http://host" + path,
    lambda path: path[1:],
    lambda path: "",
    lambda path: path + "?" + "?" * 50,
)


def _headers(rng: Random, world: World) -> dict[str, str]:
    headers = {
        "content-type": some(rng, _TYPES, 0.05),
        "user-agent": some(rng, ("OpenAI/Python 1.99", "", "ü" * 600, "\x00"), 0.05),
    }
    if rng.random() < 0.6:
        headers["x-request-id"] = rng.choice(_IDS)
    if rng.random() < 0.3:
        headers["x-forwarded-for"] = rng.choice(_FORWARDED)
    if rng.random() < 0.05:
        name, values = rng.choice(_RARE)
        headers[name] = rng.choice(values)
    headers.update(_credentials(rng, world))
    return headers


_TYPES: Final = (
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON;charset=UTF-8",
    "application/json; charset=utf-16",
    "text/plain",
    "application/x-www-form-urlencoded",
    "application/jsonx",
    "",
)
_FORWARDED: Final = (
    "203.0.113.7",
    "1.1.1.1, 203.0.113.7",
    "203.0.113.7, 1.1.1.1",
    "203.0.113.7:80",
    "[::1]:80",
    ",",
    "a,b,c",
    "203.0.113.7,",
    "0x7f.1",
)
_RARE: Final = (
    ("content-encoding", ("gzip", "identity", "", "Identity ", "br")),
    ("x-envoy-auth-partial-body", ("true", "false", "", "TRUE")),
    ("X-Api-Key", (SECRETS["open"],)),
    ("x-pdp-force-usage", ("1",)),
    ("x-pdp-key-id", ("root",)),
    ("cookie", (f"key={SECRETS['open']}",)),
    ("proxy-authorization", (f"Bearer {SECRETS['open']}",)),
)
KEYS: Final = (
    *("open", "team", "root", "listed", "barred", "thrifty", "office", "ending"),
    *("tight",) * 3,
    *("reader", "revoked", "suspended", "expired"),
)


def raw_key(rng: Random, world: World) -> str:
    """Return a raw key, mostly a good one, half the time the world's favourite."""
    if rng.random() < 0.9:
        return SECRETS[rng.choice(KEYS) if rng.random() < 0.5 else world.favourite]
    good = SECRETS["open"]
    odd = (
        *("", " ", STRANGER, good[:-1], good + "0", good.upper(), good + ", " + STRANGER),
        *("open", f"{good},{good}", good[:20] + "\x00" + good[21:], "vsk_", "k" * 500),
    )
    return rng.choice(odd)


def _credentials(rng: Random, world: World) -> dict[str, str]:
    key = raw_key(rng, world)
    bearer = some(rng, _SCHEMES, 0.1) + key
    kind = rng.random()
    if kind < 0.6:
        return {"authorization": bearer}
    if kind < 0.8:
        return {"x-api-key": key}
    if kind < 0.88:
        return {"api-key": some(rng, (key, f" {key}\t", f"Bearer {key}"), 0.2)}
    if kind < 0.92:
        return {"authorization": bearer, "x-api-key": key}
    if kind < 0.96:
        return {"authorization": bearer, rng.choice(("x-api-key", "api-key")): raw_key(rng, world)}
    return {}


_SCHEMES: Final = (
    *("Bearer ", "bearer ", "BEARER  ", "Bearer", "Basic ", " Bearer ", "Bearer\t"),
    *("", "Bearer Bearer ", "Token "),
)


# -- pdp.v1


def make_check(rng: Random, world: World) -> bytes:
    request = pdp.CheckRequest(
        request_id=rng.choice(_IDS) if rng.random() < 0.5 else "",
        api_key=raw_key(rng, world),
        action=some(rng, ("chat:completions", *ACTIONS, "chat:*", "CHAT:STREAM", ""), 0.4),
        model=some(rng, ("gpt-4o", *MODELS, ""), 0.5),
        provider=some(rng, ("openai", "", "unknown", "a b"), 0.3),
        client_ip=some(rng, _ADDRESSES, 0.5),
        user_agent="curl/8",
        dry_run=rng.random() < 0.1,
    )
    if rng.random() < 0.8:
        request.estimated_prompt_tokens = some(rng, (20, 0, 7, 1000, 10**6, 2**62, -1), 0.3)
    if rng.random() < 0.7:
        request.max_output_tokens = some(rng, (100, 0, 1, 4096, 10**9, 2**63 - 1, -5), 0.3)
    if rng.random() < 0.2:
        request.metadata["app"] = rng.choice(("x", "", "m" * 20_000))
    return on_the_wire(rng, request)


def _reservation(rng: Random, world: World) -> Any:
    """Return a reference of a permission that was given here, as a list; rarely made up."""
    if world.references and rng.random() < 0.95:
        return msgspec.json.decode(rng.choice(world.references[-20:]))[:6]
    made_up = rng.choice(("res_test-zz9", "res_test-100", "res_", "", "x", "res_other-100"))
    return [made_up, "open", "r1", 10, 10, False]


def bent_reference(rng: Random, world: World) -> str:
    """Return the text of a reference, sometimes bent."""
    reference = _reservation(rng, world)
    if rng.random() < 0.1:
        odd: tuple[Any, ...] = (-1, 2**64, 10**30, None, "x", 1.5, True, [], "\ud7ff")
        reference[rng.randrange(len(reference))] = rng.choice(odd)
    text = msgspec.json.encode(reference).decode()
    return (
        mutate_bytes(rng, text.encode()).decode(errors="replace") if rng.random() < 0.05 else text
    )


def make_report(rng: Random, world: World) -> bytes:
    count = some(rng, (1, 2, 5, 120), 0.15)
    if rng.random() < 0.0005:
        count = 10_001
    return on_the_wire(rng, pdp.ReportRequest(usages=[_usage(rng, world) for _ in range(count)]))


def _usage(rng: Random, world: World) -> pdp.Usage:
    reservation_id, key_id, request_id, prompt, output, _ = _reservation(rng, world)
    usage = pdp.Usage(
        request_id=some(rng, (request_id, *_IDS), 0.2),
        reservation_id=some(rng, (reservation_id, "", reservation_id + "0"), 0.3),
        key_id=some(rng, (key_id, "", "nobody", "open", SECRETS["open"]), 0.1),
        status=some(rng, ("success", "error", "denied", "cancelled", "", "SUCCESS"), 0.3),
        http_status=200,
        prompt_tokens=some(rng, (prompt, 0, 10**9, 10**9 + 1, -1), 0.1),
        completion_tokens=some(rng, (output, 0, 3, 10**9), 0.4),
        usage_source=some(rng, ("provider", "", "estimated", "none"), 0.3),
    )
    if rng.random() < 0.15:
        costs = ("0", "0.001", "9000000", "9000000.1", "1e-9", "-1", "NaN", "1e99", "٣", "0" * 80)
        usage.cost_usd = rng.choice(costs)
    if rng.random() < 0.2:
        usage.cached_tokens = rng.choice((0, 1, 5, 10**6))
    if rng.random() < 0.1:
        usage.started_at.seconds = rng.choice((0, -1, 1_795_435_200, 2**40, -(2**63)))
    if rng.random() < 0.1:
        usage.model = rng.choice((*MODELS, "a b"))
    return usage


# -- Envoy's access log


def make_plain(rng: Random, world: World) -> bytes:
    """Return a request as it should be, of a key that may make it."""
    message = envoy.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path = "POST", CHAT
    key = rng.choice(("open", "team", "tight", "thrifty", world.favourite))
    http.headers["authorization"] = f"Bearer {SECRETS[key]}"
    http.headers["x-request-id"] = rng.choice(_IDS)
    http.raw_body = b'{"model":"gpt-4o","max_tokens":%d}' % rng.choice((0, 10, 500))
    return message.SerializeToString()


def make_access_log(rng: Random, world: World) -> bytes:
    messages = []
    for _ in range(some(rng, (1, 2, 3), 0.2)):
        message = envoy.StreamAccessLogsMessage()
        for _ in range(some(rng, (1, 2, 6), 0.2)):
            _entry(rng, world, message.http_logs.log_entry.add())
        messages.append(on_the_wire(rng, message))
    if rng.random() < 0.2:
        plain = envoy.StreamAccessLogsMessage()
        if world.references:
            entry = plain.http_logs.log_entry.add()
            _refer(entry, rng.choice(world.references))
            entry.response.response_code.value = 200
            entry.response.response_body_bytes = 99
        messages.append(plain.SerializeToString())
    return msgspec.msgpack.encode(messages)


def _refer(entry: envoy.HTTPAccessLogEntry, text: str) -> None:
    metadata = entry.common_properties.metadata.filter_metadata
    metadata["envoy.filters.http.ext_authz"].fields["ref"].string_value = text


def _entry(rng: Random, world: World, entry: envoy.HTTPAccessLogEntry) -> None:
    common = entry.common_properties
    _refer(entry, bent_reference(rng, world))
    common.intermediate_log_entry = rng.random() < 0.2
    common.start_time.seconds = some(rng, (1_795_435_200, 0, -1, 2**40, -(2**63)), 0.05)
    common.duration.seconds = some(rng, (1, 0, -1, 2**40, 2**63 - 1), 0.05)
    common.duration.nanos = some(rng, (5_000_000, 0, -5, 2**31 - 1), 0.05)
    for field in common.response_flags.DESCRIPTOR.fields:
        if rng.random() < 0.04:
            setattr(common.response_flags, field.name, True)
    if rng.random() < 0.7:
        told = common.metadata.filter_metadata["llm.usage"].fields
        for name in TOLD[:2] if rng.random() < 0.6 else rng.sample(TOLD, 3):
            told[name].number_value = some(rng, (11, 0, 7.5, -1, 1e9, 1e10, float("nan")), 0.2)
    entry.response.response_code.value = some(rng, (200, 0, 404, 429, 500, 2**32 - 1), 0.3)
    entry.response.response_body_bytes = some(rng, (400, 0, 2**64 - 1), 0.2)
    details = ("via_upstream", "", "route_not_found", "response_payload_too_large", "\x00")
    entry.response.response_code_details = some(rng, details, 0.2)


TOLD: Final = (
    *("prompt_tokens", "completion_tokens", "cached_tokens", "input_tokens", "output_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens"),
)
