"""From what the policies and the counters say to a `Decision`, with its headers."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from pdp.key import CompiledKey
from pdp.model import Decision, LimitStatus
from pdp.quota.hold import Admitted, Hold, Refused
from pdp.quota.limit import Limit
from pdp.reasons import REASONS
from pdp.refusal import Denial

_SECOND: Final = 1_000_000_000
_NO_KEY: Final = ("", "", "", "", "")


def deny(
    denial: Denial,
    decision_id: str,
    request_id: str,
    key: CompiledKey | None = None,
    limits: tuple[LimitStatus, ...] = (),
    *,
    http_status: int = 0,
    now: int = 0,
) -> Decision:
    """Return a denial; `http_status` 0 takes the reason's own. `limits` as they stand at `now`."""
    key_id, name, organization, team, user = _NO_KEY if key is None else _who(key)
    return Decision(
        allowed=False,
        reason=denial.reason,
        message=denial.message,
        http_status=http_status or REASONS[denial.reason].http_status,
        decision_id=decision_id,
        key_id=key_id,
        key_name=name,
        organization_id=organization,
        team_id=team,
        user_id=user,
        retry_after=denial.retry_after,
        limits=limits,
        policy_revision=key.revision_text if key else "",
        matched_statement=denial.statement,
        response_headers=_headers_of(denial, request_id, limits, now),
    )


def _headers_of(
    denial: Denial, request_id: str, limits: Sequence[LimitStatus], now: int
) -> dict[str, str]:
    """Return when to retry, or that it is no use, and the limit that refused."""
    headers = {"x-request-id": _quoted(request_id)}
    if denial.retry_after is not None:
        headers["retry-after"] = str(max(1, -(-denial.retry_after // _SECOND)))
    else:
        headers["x-should-retry"] = "false"
    if denial.refused is not None:
        limit = _status_of(denial.refused, limits)
        if limit is not None and limit.unit != "nano_usd":
            _show(headers, limit.unit, limit, now)
    return headers


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
    # Positional: by name it would cost a microsecond and a half more.
    return Decision(
        True,
        "ok",
        "",
        200,
        hold.decision_id,
        record.id,
        record.name,
        record.organization_id,
        record.team_id,
        record.user_id,
        hold.provider,
        "" if dry_run else hold.reservation_id,
        None,
        limits,
        key.revision_text,
        hold.statement,
        headers,
    )


def _status_of(refused: Refused, limits: Sequence[LimitStatus]) -> LimitStatus | None:
    """Return the limit that refused, among all as they stand; None for that of one request."""
    name, key_id = refused.limit.name, refused.limit.key_id
    if isinstance(refused.limit, Limit) and refused.limit.period == "request":
        return None
    return next(each for each in limits if (each.name, each.key_id) == (name, key_id))


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
    return _long(-(-ns // _SECOND))


@lru_cache(maxsize=1024)
def _long(seconds: int) -> str:
    """Return a duration of seconds and more: for a second, every Check to a limit has the same."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
