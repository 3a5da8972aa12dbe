"""What a decision says: reasons of dead keys, headers, and nothing of the raw key."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pdp.compile import Compiler
from pdp.decide import allow, deny
from pdp.form import request_fault, size_fault
from pdp.key import CompiledKey
from pdp.model import LimitStatus, Request, Resolved
from pdp.quota.hold import Admitted, Hold, Refused
from pdp.quota.limit import Limit, Rate
from pdp.reasons import REASONS
from pdp.refusal import Denial, key_denial, limit_denial
from tests.wire.harness import NOON, Keys, record

SECOND = 1_000_000_000


def compiled(**fields: object) -> CompiledKey:
    key = Keys(record("app", **fields)).lookup("app")
    assert key is not None
    return key


def held() -> Hold:
    return Hold(
        "res", "dec", "app", "r 1", 0, "chat:completions", "gpt-4o", "openai",
        5, 2, 10, 4, (), NOON, NOON + 600 * SECOND,
    )  # fmt: skip


def status(reset_at: int | None) -> LimitStatus:
    return LimitStatus("rate_limits.per_minute", "app", "requests", 60, 50, 15, reset_at)


def test_a_living_key_has_no_fault() -> None:
    assert key_denial(compiled(expires_at=NOON + 1), NOON) is None


@pytest.mark.parametrize(
    ("key", "reason", "words"),
    [
        (compiled(status="revoked"), "key_revoked", "was revoked"),
        (compiled(status="suspended"), "key_suspended", "is suspended"),
        (compiled(expires_at=NOON), "key_expired", "expired at 2026-11-23T12:00:00Z"),
        (replace(compiled(), alive_until=0), "key_revoked", "was rotated out"),
        (replace(compiled(), alive_until=NOON), "key_revoked", "was rotated out"),
    ],
    ids=["revoked", "suspended", "expired", "old secret", "secret after its grace"],
)
def test_a_dead_key_says_why(key: CompiledKey, reason: str, words: str) -> None:
    denial = key_denial(key, NOON)
    assert denial is not None
    assert denial.reason == reason
    assert words in denial.message
    assert "key `App` (app)" in denial.message


def test_a_secret_in_its_grace_period_lives() -> None:
    assert key_denial(replace(compiled(), alive_until=NOON + 1), NOON) is None


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (20_000_000, "20ms"),
        (SECOND, "1s"),
        (SECOND + 1, "2s"),
        (90 * SECOND, "1m30s"),
        (360 * SECOND, "6m0s"),
        (86_400 * SECOND, "24h0m0s"),
    ],
)
def test_limits_show_in_headers_as_openai_writes_them(left: int, text: str) -> None:
    admitted = Admitted(held(), tightest_requests=status(NOON + left), tightest_tokens=None)
    headers = allow(compiled(), held(), admitted).response_headers
    assert headers["x-request-id"] == "r%201"
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == text
    assert "x-ratelimit-limit-tokens" not in headers


def test_a_limit_that_never_resets_has_no_reset_header() -> None:
    admitted = Admitted(held(), tightest_requests=None, tightest_tokens=status(None))
    headers = allow(compiled(), held(), admitted).response_headers
    assert headers["x-ratelimit-limit-tokens"] == "60"
    assert "x-ratelimit-reset-tokens" not in headers


def test_a_repeated_answer_has_no_limits_in_its_headers() -> None:
    assert allow(compiled(), held()).response_headers == {"x-request-id": "r%201"}


@pytest.mark.parametrize("reason", sorted(REASONS.keys() - {"ok"}))
def test_a_denial_says_either_when_to_retry_or_that_it_is_no_use(reason: str) -> None:
    waits = deny(Denial(reason, "why", retry_after=1), "d", "r").response_headers
    assert waits["retry-after"] == "1"
    assert "x-should-retry" not in waits
    headers = deny(Denial(reason, "why"), "d", "r 1").response_headers
    assert headers == {"x-request-id": "r%201", "x-should-retry": "false"}


def test_a_requests_repr_has_no_key() -> None:
    request = Request("r", "vsk_prod_secret", "chat:completions", "gpt-4o")
    assert "vsk_prod_secret" not in f"{request!r}{request}"


def test_a_secret_that_was_rotated_out_is_dead_from_the_beginning() -> None:
    leaf = record("app")
    resolved = Resolved(
        key_id="app",
        parents=("app",),
        granters=("app",),
        records=(leaf,),
        timezone="UTC",
        revision=1,
        secret_revoked=True,
    )
    assert Compiler().compile(resolved).alive_until == 0
    alive = msgspec.structs.replace(resolved, secret_revoked=False, secret_expires_at=7)
    assert Compiler().compile(alive).alive_until == 7


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"action": "dance"}, "unknown action `dance`"),
        ({"model": ""}, "needs a model"),
        ({"model": "a b"}, "the model name is not printable"),
        ({"provider": "x" * 257}, "the provider name is not printable"),
        ({"request_id": "r" * 257}, "request id is longer"),
        ({"metadata": {"a" * 16_385: ""}}, "metadata is longer"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(asked: dict[str, Any], words: str) -> None:
    fields = {"request_id": "r", "api_key": "k", "action": "chat:completions", "model": "m"}
    assert words in request_fault(Request(**{**fields, **asked}))


def test_the_most_that_a_request_may_take_is_bounded() -> None:
    assert size_fault(held()) == ""
    assert "tokens" in size_fault(replace(held(), tokens=1_000_000_001))
    assert "9,000,000 USD" in size_fault(replace(held(), cost=9_000_000 * 10**9 + 1))
    assert size_fault(replace(held(), cost=None)) == ""


def test_a_rate_of_nothing_and_a_quota_of_nothing_say_so() -> None:
    rate = Rate("rate_limits.per_minute", "app", "App", 0, 60 * SECOND, 0, 0, 60)
    assert "is 0: no requests are allowed" in limit_denial(Refused(rate, 1, 0, 0)).message
    limit = Limit("budget_limits.daily", "app", "App", "nano_usd", "day", 0)
    assert "is 0: nothing is allowed" in limit_denial(Refused(limit, 1, 0, 0)).message
    once = Rate("rate_limits.per_minute", "app", "App", 1, 60 * SECOND, 60 * SECOND, 1, 60)
    message = limit_denial(Refused(once, 1, 1, 0, 29 * SECOND + 1)).message
    assert "allows 1 request a minute, 1 at once: retry in 30 s, or ask for a raise" in message


@pytest.mark.parametrize(
    ("unit", "amount", "asked", "words"),
    [
        ("nano_usd", 10, 5, "; wait until 2024-06-04T00:00:00Z, lower max_tokens, or ask for a"),
        ("nano_usd", 10, 11, "; lower max_tokens, shorten the prompt, or ask for a raise: waiting"),
        (
            "tokens",
            10,
            10,
            "limit 10 tokens, spent 7, held 1, this request may take 10; wait until",
        ),
        (
            "requests",
            1,
            1,
            "limit 1 request, spent 7, held 1, this request may take 1; ask for a r",
        ),
    ],
)
def test_a_full_limit_says_what_helps(unit: Any, amount: int, asked: int, words: str) -> None:
    limit = Limit("budget_limits.daily", "app", "App", unit, "day", amount)
    midnight = 1_717_459_200 * SECOND
    assert words in limit_denial(Refused(limit, asked, 7, 1, None, midnight)).message
