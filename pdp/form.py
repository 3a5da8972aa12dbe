"""Whether a request or a usage is well-formed: what no policy and no limit need look at."""

from collections.abc import Mapping
from typing import Final

from pdp.actions import ACTIONS
from pdp.model import Request, TokenDetails, Units, Usage
from pdp.quota.hold import Hold
from pdp.quota.money import MOST_USD, NANO
from pdp.wording import shown

MAX_TOKENS: Final = 1_000_000_000
"""Bound of one request's token counts: far above any model, far below 64-bit sums."""

MAX_METADATA: Final = 16_384
"""Bound of a request's metadata in characters, names and values together."""

_AMOUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "latency_ms",
    "http_status",
)


def request_fault(request: Request) -> str:
    """Return what is wrong with the request itself, or an empty string."""
    action = ACTIONS.get(request.action)
    if action is None:
        return f"unknown action {shown(request.action)}: use one of {', '.join(ACTIONS)}"
    if action.model_bearing and not request.model:
        return f"action `{action.name}` needs a model: name one"
    for what, name in (("model", request.model), ("provider", request.provider)):
        if name and not is_model_name(name):
            return f"the {what} name is not printable ASCII without spaces, up to 256 characters"
    if len(request.request_id) > 256:
        return "the request id is longer than 256 characters: shorten it"
    if request.metadata and _metadata_size(request.metadata) > MAX_METADATA:
        return f"the metadata is longer than {MAX_METADATA:,} characters: shorten it"
    return ""


def size_fault(hold: Hold) -> str:
    """Return what is wrong with the most that a request may take, or an empty string."""
    if hold.tokens > MAX_TOKENS:
        return f"the request may take {hold.tokens:,} tokens, above {MAX_TOKENS:,}: ask for less"
    if hold.cost is not None and hold.cost > MOST_USD * NANO:
        return f"the request may cost more than {MOST_USD:,} USD: ask for less"
    return ""


def usage_fault(usage: Usage) -> str:
    """Return what is wrong with a usage, or an empty string."""
    if not usage.reservation_id and not usage.request_id:
        return "request_id: needed without a reservation_id, or a retry would count twice"
    if message := _amount_fault(usage):
        return message
    if usage.action and usage.action not in ACTIONS:
        return f"action: {shown(usage.action)} is not one of {', '.join(ACTIONS)}"
    if usage.metadata and _metadata_size(usage.metadata) > MAX_METADATA:
        return f"metadata: longer than {MAX_METADATA:,} characters: shorten it"
    for name, text in (("model", usage.model), ("provider", usage.provider)):
        if text and not is_model_name(text):
            return f"{name}: not printable ASCII without spaces, up to 256 characters"
    if len(usage.request_id) > 256 or len(usage.reservation_id) > 256 or len(usage.key_id) > 256:
        return "an id is longer than 256 characters: shorten it"
    return ""


def is_model_name(name: str) -> bool:
    """Tell whether a model or provider name is well-formed: printable ASCII, no spaces, <= 256."""
    return 0 < len(name) <= 256 and name.isascii() and name.isprintable() and " " not in name


def _amount_fault(usage: Usage) -> str:
    # Most often all are, and that is seen at a look.
    if not (
        0 <= usage.prompt_tokens <= MAX_TOKENS
        and 0 <= usage.completion_tokens <= MAX_TOKENS
        and 0 <= usage.cached_tokens <= MAX_TOKENS
        and 0 <= usage.latency_ms <= MAX_TOKENS
        and 0 <= usage.http_status <= MAX_TOKENS
    ):
        return _out_of_range(usage)
    if usage.cached_tokens > usage.prompt_tokens:
        return "cached_tokens: more than prompt_tokens, of which they are a part"
    if usage.details is not None and (message := _details_fault(usage, usage.details)):
        return message
    if usage.units is not None and (message := _units_fault(usage.units)):
        return message
    if usage.started_at is not None and not 0 <= usage.started_at < 2**63:
        return "started_at: out of range: send a time after 1970"
    return ""


def _out_of_range(usage: Usage) -> str:
    for name in _AMOUNTS:
        amount = getattr(usage, name)
        if not 0 <= amount <= MAX_TOKENS:
            return f"{name}: `{amount}` is not between 0 and {MAX_TOKENS:,}"
    raise AssertionError("one of them is")


def _details_fault(usage: Usage, details: TokenDetails) -> str:
    for name in TokenDetails.__struct_fields__:
        amount = getattr(details, name)
        if not 0 <= amount <= MAX_TOKENS:
            return f"details.{name}_tokens: `{amount}` is not between 0 and {MAX_TOKENS:,}"
    heard, seen = details.input_audio, details.input_image
    of_cache = details.cached_audio + details.cached_image
    output = details.output_audio + details.output_image + details.reasoning
    parts = (
        ("cache_write_1h", details.cache_write_1h, "cache_write", details.cache_write),
        ("cached_audio", details.cached_audio, "input_audio", heard),
        ("cached_image", details.cached_image, "input_image", seen),
    )
    for part, some, whole, all_of_it in parts:
        if some > all_of_it:
            return f"details.{part}_tokens: more than {whole}_tokens, of which they are a part"
    if of_cache > usage.cached_tokens:
        return "details: more sound and pictures that were cached than cached_tokens"
    if usage.cached_tokens + details.cache_write + heard + seen - of_cache > usage.prompt_tokens:
        return "details: more than prompt_tokens, of which they are parts"
    if output > usage.completion_tokens:
        return "details: more than completion_tokens, of which they are parts"
    return ""


def _units_fault(units: Units) -> str:
    for name in Units.__struct_fields__:
        amount = getattr(units, name)
        if not 0 <= amount <= MAX_TOKENS:
            return f"units.{name}: `{amount}` is not between 0 and {MAX_TOKENS:,}"
    return ""


def _metadata_size(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())
