"""The nouns that both planes and the adapters speak.

Units, everywhere below the parser: money in nano-USD (10^-9 USD), times in
nanoseconds since the Unix epoch, both as `int`. Windows are named by the
second since the epoch at which they start.
"""

from typing import Any, Final, Literal

from msgspec import Struct

KeyType = Literal["organization", "team", "user", "application"]
KeyStatus = Literal["active", "revoked", "suspended"]
Access = Literal["full", "read_only", "custom"]
UsageStatus = Literal["success", "error", "denied", "cancelled"]
UsageSource = Literal["provider", "estimated", "none"]


TOKENS_OF_IMAGE: Final = 6_600
"""The most of a picture that is made: 6,240 at high quality and 100 for each of three partial
images; source: OpenAI, "Image generation", cost and latency."""

TOKENS_OF_CHARACTER_SPOKEN: Final = 4
"""The most that a character makes when it is spoken: 20 tokens a second, read at 5 characters a
second, a third of how fast people speak."""


class Units(Struct, frozen=True, array_like=True, gc=False):
    """What is paid for beside tokens, or instead: images made, characters said, seconds heard."""

    images: int = 0
    characters: int = 0
    seconds: int = 0


class TokenDetails(Struct, frozen=True, gc=False):
    """Tokens of a usage that may have rates of their own.

    Of the prompt: `cache_write`, what the provider put into its cache, `cache_write_1h` of
    that for an hour; `input_audio` and `input_image`, `cached_audio` and `cached_image` of
    those and of the cached tokens. Of the completion: `output_audio`, `output_image`,
    `reasoning`.
    """

    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    cached_audio: int = 0
    input_image: int = 0
    cached_image: int = 0
    output_audio: int = 0
    output_image: int = 0
    reasoning: int = 0


class Request(Struct, frozen=True, gc=False):
    """One request that a proxy is about to forward. Empty strings mean "not given".

    `prompt_tokens` and `max_output_tokens` (None: the default) bound its size, the
    latter for each of `choices` outputs. `units`: the most of what else it may cost.
    """

    request_id: str
    api_key: str
    action: str
    model: str = ""
    provider: str = ""
    client_ip: str = ""
    user_agent: str = ""
    prompt_tokens: int = 0
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None
    dry_run: bool = False
    adapter: str = "grpc"
    choices: int = 1
    units: Units | None = None

    def most_output(self, default: int) -> int:
        """Return the most tokens of all outputs; `default` bounds one that has no bound.

        Pictures may be more than that, and a long text that is spoken.
        """
        bound = self.max_output_tokens
        if bound is None and self.units is not None:
            spoken = self.units.characters * TOKENS_OF_CHARACTER_SPOKEN
            drawn = -(-self.units.images // self.choices) * TOKENS_OF_IMAGE
            default = max(default, spoken, drawn)
        return (default if bound is None else bound) * self.choices

    def __repr__(self) -> str:
        """Leave the raw key out: a repr ends up in tracebacks and logs."""
        return f"Request(request_id={self.request_id!r}, action={self.action!r})"

    __str__ = __repr__


class LimitStatus(Struct, frozen=True, gc=False):
    """A limit as it stood: `limit`, `spent`, `held` in `unit`; `reset_at` in ns or None."""

    name: str
    key_id: str
    unit: str
    limit: int
    spent: int
    held: int
    reset_at: int | None

    @property
    def remaining(self) -> int:
        """What is left, never below zero."""
        return max(0, self.limit - self.spent - self.held)


class Decision(Struct, frozen=True, gc=False):
    """The verdict on a request. `retry_after` is in ns; None: waiting does not help."""

    allowed: bool
    reason: str
    message: str
    http_status: int
    decision_id: str
    key_id: str = ""
    key_name: str = ""
    organization_id: str = ""
    team_id: str = ""
    user_id: str = ""
    provider: str = ""
    reservation_id: str = ""
    retry_after: int | None = None
    limits: tuple[LimitStatus, ...] = ()
    policy_revision: str = ""
    matched_statement: str = ""
    response_headers: dict[str, str] = {}


class Usage(Struct, frozen=True, gc=False):
    """What a request really used. Empty strings mean "as checked" or "not given".

    `cost` is in nano-USD; None: priced here. `units` None: as checked; so is each that is 0.
    """

    request_id: str = ""
    reservation_id: str = ""
    key_id: str = ""
    action: str = ""
    model: str = ""
    provider: str = ""
    status: UsageStatus = "success"
    http_status: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: int | None = None
    latency_ms: int = 0
    started_at: int | None = None
    client_ip: str = ""
    user_agent: str = ""
    metadata: dict[str, str] | None = None
    usage_source: UsageSource | Literal[""] = ""
    details: TokenDetails | None = None
    units: Units | None = None


class Reported(Struct, frozen=True, gc=False):
    """What became of one usage: counted, counted before, or not taken (`error`)."""

    result: Literal["accepted", "duplicate", "error"]
    code: str = ""
    message: str = ""


class KeyRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as its author wrote it, without secrets. JSON between the planes.

    `version` is the change sequence number of its last change. The dict and
    list fields hold the authored documents, already validated once; the data
    plane compiles them. `expires_at` is in ns.
    """

    id: str
    name: str
    version: int
    status: KeyStatus = "active"
    key_type: KeyType = "application"
    organization_id: str
    team_id: str = ""
    user_id: str = ""
    parent_key_id: str = ""
    granted_by: str = ""
    permissions_apply_to: Literal["self", "subtree"] = "self"
    access: Access | None = None
    permissions: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None
    rate_limits: dict[str, Any] | None = None
    budget_limits: dict[str, Any] | None = None
    token_limits: dict[str, Any] | None = None
    max_requests: int | None = None
    ip_allowlist: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    expires_at: int | None = None


class Moved(Struct, frozen=True, array_like=True, gc=False):
    """A change of timezone at a second, and the starts of the windows that were open then."""

    at: int
    day: int
    month: int


class Resolved(Struct, frozen=True, kw_only=True):
    """A secret's key with everything that decides for it.

    `parents` and `granters` are ids from the key itself up to the root;
    `records` holds each key of both chains once. `secret_expires_at` (ns) ends
    the grace period of a rotated secret; `secret_revoked`: it is dead already.
    """

    key_id: str
    parents: tuple[str, ...]
    granters: tuple[str, ...]
    records: tuple[KeyRecord, ...]
    timezone: str
    revision: int
    moved: Moved | None = None
    secret_expires_at: int | None = None
    secret_revoked: bool = False
