"""Lines that libraries write to stderr, as they come from gRPC."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from pdp.serve.foreign import ForeignLines, hear

AT = "I1128 13:03:16.413424     564 ssl_transport_security.cc:2563] "
FAILED = f"{AT}Handshake failed with error SSL_ERROR_SSL: error:1000007d:SSL routines:"


def told(*lines: str) -> list[Any]:
    with capture_logs() as log:
        foreign = ForeignLines("data")
        for line in lines:
            foreign.take(line)
    return log


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired",
            "certificate has expired",
        ),
        (
            "OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE: Invalid certificate verification",
            "peer did not return a certificate",
        ),
        ("OPENSSL_internal:WRONG_VERSION_NUMBER", "wrong version number"),
    ],
)
def test_a_failed_handshake_is_told_with_its_reason(line: str, reason: str) -> None:
    (event,) = told(FAILED + line)
    assert (event["event"], event["plane"]) == ("TLS handshake failed", "data")
    assert (event["reason"], event["log_level"]) == (reason, "warning")


def test_many_of_a_kind_are_told_once() -> None:
    expired = FAILED + "OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: certificate has expired"
    names = [f"E1128 13:03:16.4     1 x.cc:3238] No match found: {n}" for n in range(50)]
    assert len(told(*[expired] * 100, *names)) == 2


def test_what_was_passed_over_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    line = FAILED + "OPENSSL_internal:WRONG_VERSION_NUMBER"
    now = 100.0
    monkeypatch.setattr("pdp.data.quiet.monotonic", lambda: now)
    foreign = ForeignLines("data")
    with capture_logs() as log:
        for _ in range(5):
            foreign.take(line)
        now = 200.0
        foreign.take(line)
    assert [event["passed_over"] for event in log] == [0, 4]


def test_last_words_are_told_line_by_line() -> None:
    words = ["Fatal Python error: Segmentation fault", "", "Current thread 0x1"] * 2
    assert [event["line"] for event in told(*words)] == words


async def test_lines_come_in_pieces() -> None:
    stream = asyncio.StreamReader()
    for piece in (b"one\ntw", b"o\nth\xffree", b"x" * 2000):
        stream.feed_data(piece)
    stream.feed_eof()
    with capture_logs() as log:
        await hear(stream, ForeignLines("data"))
    assert [event["line"][:5] for event in log] == ["one", "two", "th\ufffdre"]
    assert max(len(event["line"]) for event in log) == 1000
