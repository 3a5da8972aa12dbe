"""What a decision says: reasons of dead keys, headers, and nothing of the raw key."""

import pytest
from msgspec.structs import replace

from pdp.decide import allow, deny, key_fault
from pdp.key import CompiledKey
from pdp.model import LimitStatus, Request
from pdp.quota.hold import Admitted, Hold
from pdp.reasons import REASONS
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
    assert key_fault(compiled(expires_at=NOON + 1), NOON) == ("", "")


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
    got, message = key_fault(key, NOON)
    assert got == reason
    assert words in message
    assert "`App` (app)" in message


def test_a_secret_in_its_grace_period_lives() -> None:
    assert key_fault(replace(compiled(), alive_until=NOON + 1), NOON) == ("", "")


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
    waits = deny(reason, "why", "d", "r", retry_after=1).response_headers
    assert waits["retry-after"] == "1"
    assert "x-should-retry" not in waits
    headers = deny(reason, "why", "d", "").response_headers
    assert headers == {"x-should-retry": "false"}


def test_a_requests_repr_has_no_key() -> None:
    request = Request("r", "vsk_prod_secret", "chat:completions", "gpt-4o")
    assert "vsk_prod_secret" not in f"{request!r}{request}"
