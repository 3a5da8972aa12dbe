"""Examples of bodies: documents that people start from, each of them accepted as it is."""

from typing import Any, Final

NEW_KEY: Final[dict[str, Any]] = {
    "application": {
        "name": "New Application Key",
        "description": "Key for mobile app",
        "permissions": {
            "models": ["gpt-4o-mini", "claude-3-haiku"],
            "actions": ["chat:completions"],
        },
        "rate_limits": {"per_minute": 100},
        "budget_limits": {"monthly": 1000.00},
        "expires_at": "2025-12-31T23:59:59Z",
    },
    "organization": {
        "key_type": "organization",
        "organization_id": "org_abc123",
        "permissions": {"manage_keys": True, "view_all_usage": True, "manage_billing": True},
    },
    "team": {
        "key_type": "team",
        "organization_id": "org_abc123",
        "team_id": "team_xyz789",
        "permissions": {
            "models": ["gpt-4o", "claude-3-5-sonnet-20241022"],
            "monthly_budget": 5000.0,
        },
    },
    "user": {
        "key_type": "user",
        "organization_id": "org_abc123",
        "team_id": "team_xyz789",
        "user_id": "user_123",
        "permissions": {
            "models": ["gpt-3.5-turbo"],
            "daily_budget": 50.0,
            "rate_limit_per_minute": 20,
        },
    },
    "office_hours": {
        "name": "Office hours",
        "policy": {
            "version": "2024-01-01",
            "statements": [
                {
                    "effect": "Allow",
                    "actions": ["*"],
                    "resources": ["*"],
                    "condition": {
                        "time_between": {
                            "start": "09:00",
                            "end": "17:00",
                            "timezone": "America/New_York",
                        }
                    },
                }
            ],
        },
    },
    "limits": {
        "name": "Production App",
        "rate_limits": {"per_minute": 60, "burst": 10},
        "budget_limits": {"daily": 100.0, "monthly": 2000.0, "total": 10000.0, "currency": "USD"},
        "budget_alerts": {"thresholds": [50, 75, 90], "notify_email": "admin@company.com"},
        "token_limits": {"daily": 1000000, "monthly": 25000000, "per_request_max": 100000},
        "ip_allowlist": {"enabled": True, "addresses": ["203.0.113.0/24", "198.51.100.42"]},
    },
}

TEMPORARY_KEY: Final[dict[str, Any]] = {
    "demo": {
        "expires_in": 3600,
        "permissions": {"models": ["gpt-4o"], "max_requests": 100},
        "metadata": {"purpose": "demo_session", "user_id": "demo_user_123"},
    }
}

KEY_PATCH: Final[dict[str, Any]] = {
    "raise": {"rate_limits": {"per_minute": 200}, "budget_limits": {"monthly": 2000.00}},
    "remove a limit": {"budget_limits": {"monthly": None}},
}

ROTATION: Final[dict[str, Any]] = {"a day": {"grace_period": 86400}, "at once": {}}

COMPROMISE: Final[dict[str, Any]] = {"why": {"reason": "seen in a public repository"}}

ORGANIZATION_PATCH: Final[dict[str, Any]] = {"timezone": {"timezone": "Europe/Berlin"}}

KEY: Final[dict[str, Any]] = {
    "id": "key_6f2a9c1d4e8b7035f1a2c3d4",
    "name": "New Application Key",
    "description": "Key for mobile app",
    "status": "active",
    "key_type": "application",
    "organization_id": "org_abc123",
    "team_id": None,
    "user_id": None,
    "parent_key_id": "key_0b1c2d3e4f5061728394a5b6",
    "granted_by": "key_0b1c2d3e4f5061728394a5b6",
    "permissions_apply_to": "self",
    "environment": "prod",
    "access": None,
    "permissions": {
        "models": ["gpt-4o-mini", "claude-3-haiku"],
        "actions": ["chat:completions"],
    },
    "policy": None,
    "rate_limits": {"per_minute": 100},
    "budget_limits": {"monthly": 1000.0},
    "token_limits": None,
    "max_requests": None,
    "budget_alerts": None,
    "alerts": None,
    "ip_allowlist": None,
    "webhooks": None,
    "metadata": None,
    "effective_limits": [
        {
            "name": "budget_limits.monthly",
            "unit": "nano_usd",
            "period": "month",
            "limit": 1000000000000,
        },
        {
            "name": "rate_limits.per_minute",
            "unit": "requests",
            "period": "60s",
            "limit": 100,
            "burst": 100,
        },
    ],
    "prefix": "vsk_prod_6Qx1",
    "last_four": "x9Zt",
    "created_at": "2026-01-31T09:00:00Z",
    "expires_at": "2027-12-31T23:59:59Z",
    "last_used_at": None,
    "rotated_at": None,
    "rotation_age_days": 0,
    "temporary": False,
    "version": 7,
}

KEY_WITH_SECRET: Final[dict[str, Any]] = {**KEY, "api_key": "vsk_prod_…"}
REVOKED_KEY: Final[dict[str, Any]] = {**KEY, "status": "revoked", "live_children": 0}
KEY_LIST: Final[dict[str, Any]] = {"keys": [KEY], "next_cursor": None}
ORGANIZATION: Final[dict[str, Any]] = {
    "id": "org_abc123",
    "name": "Company",
    "timezone": "Europe/Berlin",
    "created_at": "2026-01-31T09:00:00Z",
}

NEW_PRICE: Final[dict[str, Any]] = {
    "tokens": {
        "provider": "openai",
        "model": "gpt-4o",
        "prompt": "2.25",
        "completion": "9",
        "cached": "1.125",
    },
    "from a date on": {
        "provider": "local",
        "model": "llama-*",
        "prompt": 0.1,
        "completion": 0.2,
        "effective_from": "2100-01-01T00:00:00Z",
        "effective_until": "2100-04-01T00:00:00Z",
    },
    "by the image": {"provider": "openai", "model": "dall-e-3", "per_image": "0.04"},
    "long prompts": {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5*",
        "prompt": "3",
        "completion": "15",
        "cached": "0.3",
        "cache_write": "3.75",
        "cache_write_1h": "6",
        "tiers": [{"above": 200000, "prompt": "6", "completion": "22.5", "cached": "0.6"}],
    },
}

PRICE: Final[dict[str, Any]] = {
    "id": "price_6f2a9c1d4e8b7035f1a2c3d4",
    "provider": "openai",
    "model": "gpt-4o",
    "status": "current",
    "prompt": "2.25",
    "completion": "9",
    "cached": "1.125",
    **dict.fromkeys(("cache_write", "cache_write_1h", "input_audio", "cached_audio")),
    **dict.fromkeys(("input_image", "cached_image", "output_audio", "output_image")),
    **dict.fromkeys(("reasoning", "per_request", "per_image", "per_minute")),
    "per_million_characters": None,
    "tiers": [],
    "currency": "USD",
    "effective_from": "2026-01-31T09:00:00Z",
    "effective_until": None,
    "created_at": "2026-01-31T09:00:00Z",
    "created_by": "key_0b1c2d3e4f5061728394a5b6",
    "version": 7,
}
PRICE_LIST: Final[dict[str, Any]] = {"prices": [PRICE], "next_cursor": None}
PRICE_OF_MODEL: Final[dict[str, Any]] = {
    "model": "gpt-4o",
    "provider": "openai",
    "source": "override",
    "matched": "gpt-4o",
    "price_id": PRICE["id"],
    "price": {
        name: value
        for name, value in PRICE.items()
        if name.startswith(("per_", "cache", "input_", "output_"))
        or name in ("prompt", "completion", "reasoning", "tiers", "currency")
    },
    "changes_at": None,
}

AUDIT_LOG: Final[dict[str, Any]] = {
    "logs": [
        {
            "timestamp": "2024-12-03T10:30:00.000Z",
            "api_key_id": "key_abc123",
            "api_key_name": "Production App",
            "request_id": "req_xyz789",
            "action": "chat.completions.create",
            "model": "gpt-4o",
            "provider": "openai",
            "status": "success",
            "latency_ms": 245,
            "tokens": {"prompt": 150, "completion": 200, "total": 350},
            "cost_usd": 0.00525,
            "metadata": {"user_id": "user_123", "app_name": "customer_support"},
            "ip_address": "203.0.113.42",
            "user_agent": "openai-python/1.3.0",
            "reason": "ok",
            "decision_id": "dec-1a2b3c",
            "reservation_id": "res-1a2b3c",
            "organization_id": "org_abc123",
            "team_id": "team_xyz789",
            "user_id": "user_123",
            "usage_source": "provider",
        }
    ],
    "next_cursor": None,
}
USAGE: Final[dict[str, Any]] = {
    "usage": [
        {
            "model": "gpt-4o",
            "requests": 12,
            "prompt_tokens": 1800,
            "completion_tokens": 2400,
            "cached_tokens": 0,
            "cost_usd": 0.063,
        }
    ],
    "next_cursor": None,
}
VALIDATED: Final[dict[str, Any]] = {
    "valid": False,
    "errors": [{"location": "statements[0].effect", "message": "is required"}],
    "warnings": [],
}
