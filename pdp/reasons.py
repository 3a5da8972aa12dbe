"""The reasons a decision can have, with the HTTP status and error type of each.

Source: the Contract (docs/errors.md explains each to the people who meet it).
"""

from typing import Final

from msgspec import Struct


class Reason(Struct, frozen=True):
    """What a client sees of it: HTTP status, and `error.type` in OpenAI's sense."""

    code: str
    http_status: int
    error_type: str


_TABLE = (
    Reason("ok", 200, ""),
    Reason("invalid_request", 400, "invalid_request_error"),
    Reason("missing_key", 401, "authentication_error"),
    Reason("invalid_api_key", 401, "authentication_error"),
    Reason("key_expired", 401, "authentication_error"),
    Reason("key_revoked", 401, "authentication_error"),
    Reason("key_suspended", 401, "authentication_error"),
    Reason("ip_not_allowed", 403, "permission_error"),
    Reason("policy_denied", 403, "permission_error"),
    Reason("action_not_allowed", 403, "permission_error"),
    Reason("model_not_allowed", 403, "permission_error"),
    Reason("condition_not_met", 403, "permission_error"),
    Reason("route_not_allowed", 403, "permission_error"),
    Reason("request_too_large", 403, "permission_error"),
    Reason("token_quota_exceeded", 403, "insufficient_quota"),
    Reason("request_quota_exceeded", 403, "insufficient_quota"),
    Reason("budget_exceeded", 403, "insufficient_quota"),
    Reason("price_unknown", 403, "permission_error"),
    Reason("body_too_large", 413, "invalid_request_error"),
    Reason("rate_limit_exceeded", 429, "rate_limit_error"),
    Reason("unavailable", 503, "server_error"),
)

REASONS: Final[dict[str, Reason]] = {reason.code: reason for reason in _TABLE}
