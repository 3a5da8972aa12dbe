"""From what the policies and the counters say to a `Decision`, with words for people."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from pdp.actions import ACTIONS
from pdp.key import CompiledKey
from pdp.model import Decision, LimitStatus, Request
from pdp.quota.hold import Admitted, Hold, Refused
from pdp.quota.limit import Limit, Rate
from pdp.quota.money import MOST_USD, NANO, format_usd
from pdp.reasons import REASONS

MAX_TOKENS: Final = 1_000_000_000
"""Bound of one request's token counts: far above any model, far below 64-bit sums."""

MAX_METADATA: Final = 16_384
"""Bound of a request's metadata in characters, names and values together."""

_SECOND: Final = 1_000_000_000
_NO_KEY: Final = ("", "", "", "", "")


def fault_of(request: Request) -> str:
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
    if request.metadata and metadata_size(request.metadata) > MAX_METADATA:
        return f"the metadata is longer than {MAX_METADATA:,} characters: shorten it"
    return ""


def size_fault(hold: Hold) -> str:
    """Return what is wrong with the most that a request may take, or an empty string."""
    if hold.tokens > MAX_TOKENS:
        return f"the request may take {hold.tokens:,} tokens, above {MAX_TOKENS:,}: ask for less"
    if hold.cost is not None and hold.cost > MOST_USD * NANO:
        return f"the request may cost more than {MOST_USD:,} USD: ask for less"
    return ""


def metadata_size(metadata: Mapping[str, str]) -> int:
    """Return the characters of all names and values."""
    return sum(len(name) + len(value) for name, value in metadata.items())


def is_model_name(name: str) -> bool:
    """Tell whether a model or provider name is well-formed: printable ASCII, no spaces, <= 256."""
    return 0 < len(name) <= 256 and name.isascii() and name.isprintable() and " " not in name


def key_fault(key: CompiledKey, now: int) -> tuple[str, str]:
    """Return (reason, message) when the key or its secret is not alive, else empty strings."""
    record = key.record
    if record.status == "active" and now < key.alive_until:
        return "", ""
    who = f"key {named(record.name, record.id)}"
    if record.status == "revoked":
        return "key_revoked", f"{who} was revoked: use another key"
    if record.status == "suspended":
        return "key_suspended", f"{who} is suspended: ask its administrator to resume it"
    if record.expires_at is not None and now >= record.expires_at:
        when = instant(record.expires_at)
        return "key_expired", f"{who} expired at {when}: ask for a new key"
    return "key_revoked", f"this secret of {who} was rotated out: use the new one"


def too_large(key: CompiledKey, tokens: int) -> Refused | None:
    """Return the first `per_request_max` of the chain that `tokens` exceeds, leaf first."""
    for scope in key.scopes:
        for limit in scope.per_request:
            if tokens > limit.amount:
                return Refused(limit, tokens, 0, 0)
    return None


def deny(
    reason: str,
    message: str,
    decision_id: str,
    request_id: str,
    key: CompiledKey | None = None,
    *,
    retry_after: int | None = None,
    statement: str = "",
    http_status: int = 0,
    limits: tuple[LimitStatus, ...] = (),
    tightest: LimitStatus | None = None,
    now: int = 0,
) -> Decision:
    """Return a denial; `http_status` 0 takes the reason's own.

    The rate-limit headers show `tightest`, the limit that refused, as it stands at `now`.
    """
    headers = {"x-request-id": _quoted(request_id)} if request_id else {}
    if retry_after is not None:
        headers["retry-after"] = str(max(1, -(-retry_after // _SECOND)))
    else:
        headers["x-should-retry"] = "false"
    if tightest is not None and tightest.unit != "nano_usd":
        _show(headers, tightest.unit, tightest, now)
    key_id, name, organization, team, user = _NO_KEY if key is None else _who(key)
    return Decision(
        allowed=False,
        reason=reason,
        message=message,
        http_status=http_status or REASONS[reason].http_status,
        decision_id=decision_id,
        key_id=key_id,
        key_name=name,
        organization_id=organization,
        team_id=team,
        user_id=user,
        retry_after=retry_after,
        limits=limits,
        policy_revision=key.revision_text if key else "",
        matched_statement=statement,
        response_headers=headers,
    )


def allow(
    key: CompiledKey,
    hold: Hold,
    admitted: Admitted | None = None,
    limits: tuple[LimitStatus, ...] = (),
    *,
    dry_run: bool = False,
) -> Decision:
    """Return a permission. `admitted` (None: a repeated answer) gives the rate-limit headers."""
    headers = {"x-request-id": _quoted(hold.request_id)}
    if admitted is not None:
        if admitted.tightest_requests is not None:
            _show(headers, "requests", admitted.tightest_requests, hold.admitted_at)
        if admitted.tightest_tokens is not None:
            _show(headers, "tokens", admitted.tightest_tokens, hold.admitted_at)
    record = key.record
    return Decision(
        allowed=True,
        reason="ok",
        message="",
        http_status=200,
        decision_id=hold.decision_id,
        key_id=record.id,
        key_name=record.name,
        organization_id=record.organization_id,
        team_id=record.team_id,
        user_id=record.user_id,
        provider=hold.provider,
        reservation_id="" if dry_run else hold.reservation_id,
        limits=limits,
        policy_revision=key.revision_text,
        matched_statement=hold.statement,
        response_headers=headers,
    )


def unpriced(model: str, provider: str) -> str:
    """Return the message of `price_unknown`."""
    return (
        f"no price is known for model {shown(model)} at provider {shown(provider)}, and a "
        "budget applies: add a price for it, or name another model"
    )


def refusal(refused: Refused) -> tuple[str, str]:
    """Return (reason, message) of a limit without room: which, whose, how full, what to do."""
    limit = refused.limit
    who = f"`{limit.name}` of key {named(limit.key_name, limit.key_id)}"
    if isinstance(limit, Rate):
        if limit.amount == 0:
            return "rate_limit_exceeded", f"{who} is 0: no requests are allowed; ask for a raise"
        return (
            "rate_limit_exceeded",
            f"{who} allows {_count(limit.amount, 'request')}, {limit.capacity} at once: "
            "retry after the time given, or ask for a raise",
        )
    if limit.period == "request":
        return (
            "request_too_large",
            f"{who} allows {limit.amount} tokens a request and this one may take "
            f"{refused.asked}: shorten the prompt or lower max_tokens",
        )
    if limit.amount == 0:
        return _QUOTA_REASON[limit.unit], f"{who} is 0: nothing is allowed; ask for a raise"
    return _QUOTA_REASON[limit.unit], f"{who} has no room: {_fill(limit, refused)}"


def status_of(refused: Refused, limits: Sequence[LimitStatus]) -> LimitStatus | None:
    """Return the limit that refused, among all as they stand; None for that of one request."""
    name, key_id = refused.limit.name, refused.limit.key_id
    if isinstance(refused.limit, Limit) and refused.limit.period == "request":
        return None
    return next(each for each in limits if (each.name, each.key_id) == (name, key_id))


_QUOTA_REASON: Final = {
    "nano_usd": "budget_exceeded",
    "tokens": "token_quota_exceeded",
    "requests": "request_quota_exceeded",
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _fill(limit: Limit, refused: Refused) -> str:
    money = limit.unit == "nano_usd"
    show: Callable[[int], str] = format_usd if money else str
    unit = "USD" if money else limit.unit
    until = "" if refused.reset_at is None else f" or wait until {instant(refused.reset_at)}"
    return (
        f"limit {show(limit.amount)} {unit}, spent {show(refused.spent)}, "
        f"held {show(refused.held)}, this request may take {show(refused.asked)}; "
        f"ask for a raise{until}"
    )


def named(name: str, key_id: str) -> str:
    """Return a key for messages: its name and its id."""
    return f"{shown(name)} ({key_id})"


def shown(text: str) -> str:
    """Return user input for messages: in backticks, printable, at most 80 characters."""
    clean = "".join(c if c.isprintable() and c != "`" else "?" for c in text[:80])
    return f"`{clean}…`" if len(text) > 80 else f"`{clean}`"


def instant(ns: int) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(ns // _SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _who(key: CompiledKey) -> tuple[str, str, str, str, str]:
    record = key.record
    return record.id, record.name, record.organization_id, record.team_id, record.user_id


_plain: Final = re.compile(r"[A-Za-z0-9._~-]*").fullmatch


def _quoted(text: str) -> str:
    return text if _plain(text) else quote(text, safe="")


_NAMES: Final = {
    what: tuple(f"x-ratelimit-{part}-{what}" for part in ("limit", "remaining", "reset"))
    for what in ("requests", "tokens")
}


def _show(headers: dict[str, str], what: str, status: LimitStatus, now: int) -> None:
    limit, remaining, reset = _NAMES[what]
    headers[limit] = str(status.limit)
    left = status.limit - status.spent - status.held
    headers[remaining] = str(left) if left > 0 else "0"
    if status.reset_at is not None:
        headers[reset] = _duration(status.reset_at - now)


def _duration(ns: int) -> str:
    """Return a duration as OpenAI's headers write it: `6m0s`, `1.5s`, `20ms`."""
    if ns < _SECOND:
        return f"{-(-ns // 1_000_000)}ms" if ns > 0 else "0ms"
    seconds = -(-ns // _SECOND)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
