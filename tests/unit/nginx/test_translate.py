"""What a usage line says, what is made of its silence, and that nothing else is believed."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.envoy import translate as envoy
from adapters.http.counts import COUNTS, believed, shape_of
from adapters.http.reference import parse_reference
from adapters.nginx.translate import MAX_LINE, message_of, usage_of
from pdp.form import usage_fault
from pdp.model import Usage
from tests.unit.nginx.lines import FIELDS, line

HEADER = b"<190>Nov 28 12:00:00 pdp: "
STREAM: dict[str, Any] = {"sse": True, "told": None, "chunks": 5, "bytes": 320}
GONE: dict[str, Any] = {"completed": False, "last": False}


def used(text: bytes) -> Usage:
    usage = usage_of(text)
    assert usage is not None
    return usage


@pytest.mark.parametrize(
    ("changes", "status", "source", "tokens"),
    [
        ({}, "success", "provider", (11, 7)),
        ({"told": None}, "success", "estimated", (10, 14)),
        ({"told": None, "bytes": 9}, "success", "estimated", (10, 3)),
        ({"told": None, "bytes": 9, "last": False}, "success", "estimated", (10, 3)),
        # The client hung up at `[DONE]`, with the usage told; and before.
        ({**STREAM, **GONE, "told": FIELDS["told"]}, "success", "provider", (11, 7)),
        ({**STREAM, **GONE}, "cancelled", "estimated", (10, 10)),
        ({**STREAM, **GONE, "bytes": 10**6}, "cancelled", "estimated", (10, 14)),
        ({**STREAM, **GONE, "bytes": 0}, "cancelled", "none", (0, 0)),
        (STREAM, "success", "estimated", (10, 10)),
        # The provider broke it off, as a stream and as JSON, and before any of it.
        ({**STREAM, **GONE, "broken": True}, "error", "estimated", (10, 10)),
        ({**GONE, "told": None, "bytes": 9, "broken": True}, "error", "estimated", (10, 3)),
        ({**GONE, "told": None, "bytes": 0, "broken": True}, "error", "none", (0, 0)),
        ({**STREAM, "told": FIELDS["told"], "broken": True}, "success", "provider", (11, 7)),
        # Nobody could read it.
        ({"told": None, "bytes": 9, "encoded": True}, "success", "estimated", (10, 14)),
        ({**STREAM, **GONE, "bytes": 9, "encoded": True}, "cancelled", "estimated", (10, 14)),
        # It left before the first byte.
        ({**GONE, "told": None, "status": 499, "bytes": 0}, "cancelled", "none", (0, 0)),
        ({**GONE, "told": None, "status": 0, "bytes": 0}, "cancelled", "none", (0, 0)),
        ({**GONE, "told": None, "bytes": 0}, "cancelled", "none", (0, 0)),
        ({"told": None, "status": 504, "upstream_status": "504"}, "cancelled", "none", (0, 0)),
        ({"told": None, "status": 500, "upstream_status": "500"}, "error", "none", (0, 0)),
        ({"told": None, "status": 429, "upstream_status": "429"}, "error", "none", (0, 0)),
        ({"told": None, "status": 502, "upstream_status": "-"}, "error", "none", (0, 0)),
        ({"told": None, "status": 502, "upstream_status": "200 : 0, 502"}, "error", "none", (0, 0)),
        ({"told": None, "status": 502, "upstream_status": "x"}, "error", "none", (0, 0)),
        # NGINX's own error in the place of a response that the provider did give.
        ({"told": None, "status": 500, "upstream_status": "502, 200"}, "cancelled", "none", (0, 0)),
        ({"status": 500, "upstream_status": "500"}, "error", "provider", (11, 7)),
        # The Responses API, and Anthropic's with its cache beside the input.
        ({"told": {"input_tokens": 11, "output_tokens": 7}}, "success", "provider", (11, 7)),
        (
            {
                "told": {
                    "input_tokens": 5,
                    "cache_read_input_tokens": 4,
                    "cache_creation_input_tokens": 2,
                    "output_tokens": 7,
                }
            },
            "success",
            "provider",
            (11, 7),
        ),
        # A stream whose beginning told the input, and which then broke off.
        ({**STREAM, **GONE, "told": {"input_tokens": 11}}, "cancelled", "estimated", (11, 10)),
        # What is filled in later, or never; and before anything has come.
        ({**STREAM, **GONE, "told": {"input_tokens": 0}}, "cancelled", "estimated", (10, 10)),
        ({"told": {"prompt_tokens": 0, "completion_tokens": 0}}, "success", "estimated", (10, 14)),
        ({"told": {"prompt_tokens": 0, "completion_tokens": 7}}, "success", "estimated", (10, 7)),
        ({"told": {"prompt_tokens": 0}, "status": 500, "bytes": 0}, "cancelled", "none", (0, 0)),
        # Counts that are none are not believed.
        ({"told": {"prompt_tokens": True, "input_tokens": "7"}}, "success", "estimated", (10, 14)),
        ({"told": {"prompt_tokens": -1, "output_tokens": 1e10}}, "success", "estimated", (10, 14)),
        ({"told": {"prompt_tokens": 11.0, "output_tokens": [7]}}, "success", "estimated", (11, 14)),
    ],
)  # fmt: skip
def test_what_a_line_says_of_usage(
    changes: dict[str, Any], status: str, source: str, tokens: tuple[int, int]
) -> None:
    usage = used(line(**changes))
    assert (usage.status, usage.usage_source) == (status, source)
    assert (usage.prompt_tokens, usage.completion_tokens) == tokens
    assert (usage.reservation_id, usage.key_id, usage.request_id) == ("res_1", "key_1", "r1")
    assert (usage.latency_ms, usage.http_status) == (245, changes.get("status", 200))
    assert usage.started_at == 1795435199_878_000_000
    assert usage.model == ""


@pytest.mark.parametrize(
    ("changes", "duration", "started_at"),
    [
        ({"time": -1.0}, 0, 1795435200_123_000_000),
        ({"time": 1e300}, 1_000_000_000, 1794435200_123_000_000),
        ({"at": 0}, 245, None),
        ({"at": 0.1}, 245, None),
        ({"at": -5.0}, 245, None),
        ({"at": 1e300}, 245, None),
        ({"time": None, "at": None}, 0, None),
    ],
)
def test_times_that_cannot_be_do_not_cost_the_usage(
    changes: dict[str, Any], duration: int, started_at: int | None
) -> None:
    usage = used(line(**changes))
    assert (usage.latency_ms, usage.started_at) == (duration, started_at)
    assert not usage_fault(usage)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'127.0.0.1 - - [28/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"',
        line(v=2),
        line(v="1"),
        line(v=None),
        line(ref=None),
        line(ref="[]"),
        line(ref="res_1"),
        line(ref='["res_1"]'),
        line(status=None),
        line(status=-1),
        line(status=1000),
        line(status=10**30),
        line(status="200"),
        line(bytes=-1),
        line(encoded=1),
        line(broken="no"),
        line(told=[]),
        line(completed="OK"),
        line()[:-1],
        line().replace(b"0.245", b"NaN"),
        line().replace(b"0.245", b"1e999"),
        line().replace(b"res_1", b"\xff\xfe"),
        line().replace(b"200", b"200\x00"),
        line(told=None)[:-1] + b',"told":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        line(told=None)[:-1] + b',"told":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
        line(model="x" * MAX_LINE),
    ],
)  # fmt: skip
def test_what_is_no_line_of_ours_is_none(text: bytes) -> None:
    assert usage_of(text) is None


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (HEADER + line(), line()),
        (b"<190>Nov 28 12:00:00 host pdp: " + line(), line()),
        (b"<190>Nov 28 12:00:00 pdp: text", None),
        (line(), None),  # No syslog: whoever sends this is not NGINX.
        (b"", None),
        (b"<190>" + b" " * 1000 + line(), None),
    ],
)
def test_a_datagram_is_taken_out_of_its_header(datagram: bytes, message: bytes | None) -> None:
    assert message_of(datagram) == message


def test_a_member_that_comes_twice_is_read_once() -> None:
    twice = line()[:-1] + b',"status":500,"upstream_status":"500"}'
    assert used(twice).status == "error"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from((*FIELDS, *COUNTS)), JSON),
    st.dictionaries(st.sampled_from(COUNTS), JSON),
)
def test_any_values_make_a_usage_that_can_be_taken_or_none(
    changes: dict[str, Any], told: dict[str, Any]
) -> None:
    usage = usage_of(msgspec.json.encode({**FIELDS, "told": told, **changes}))
    if usage is not None and changes.get("ref") is None:
        fault = usage_fault(usage)
        assert not fault or "prompt_tokens" in fault  # The sum of three that are each as told.


@given(st.binary(max_size=300), st.integers(0, 400), st.booleans())
@example(b"", 100, False)
def test_any_bytes_in_a_line_are_survived(junk: bytes, at: int, cut: bool) -> None:
    text = line()
    made = text[:at] + junk + (b"" if cut else text[at:])
    usage = usage_of(made)
    assert usage is None or usage.request_id
    message = message_of(made)
    assert message is None or message.startswith(b"{")


@given(
    status=st.sampled_from((200, 200, 201, 400, 429, 500, 502, 503)),
    size=st.integers(0, 400),
    told=st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 500)),
    kind=st.sampled_from(("application/json", "text/event-stream; charset=utf-8")),
    coding=st.sampled_from(("", "gzip", "identity")),
    failed=st.booleans(),
)
def test_what_both_proxies_see_alike_is_reported_alike(
    status: int, size: int, told: dict[str, int], kind: str, coding: str, failed: bool
) -> None:
    """Answers of a provider to clients that stay: the same bytes, the same counts."""
    reference = parse_reference(str(FIELDS["ref"]))
    assert reference is not None
    shape = shape_of(size, kind, coding)
    ours = used(
        line(
            status=status,
            upstream_status=str(status),
            bytes=size,
            told=told,
            sse=shape.events,
            encoded=shape.encoded,
            broken=failed,
            completed=not failed,
        )
    )
    started_at = ours.started_at
    theirs = envoy.usage_of(
        envoy.Entry(
            reference, status, "via_upstream", shape, told, False, failed, False, 245, started_at
        )
    )
    assert ours == theirs


def test_only_numbers_are_counts() -> None:
    told = dict(zip(COUNTS, (1, 2.0, True, "4", None, [5]), strict=False))
    assert believed({**told, "other": 9}) == {"prompt_tokens": 1, "completion_tokens": 2}
    assert believed({"prompt_tokens": float("nan"), "cached_tokens": float("inf")}) == {}
