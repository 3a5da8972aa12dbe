"""What an access log entry says of usage, and what is made of its silence."""

from typing import Any

import pytest
from msgspec.structs import replace

from adapters.envoy.translate import Entry, usage_of
from adapters.http.counts import Shape, estimated_tokens, shape_of
from adapters.http.reference import parse_reference, reference_of
from pdp.model import Units
from tests.unit.http.test_ask import asked, decision


def entry(**changes: Any) -> Entry:
    reference = parse_reference(reference_of(asked().request, decision(), 4096))
    fields: dict[str, Any] = {
        "reference": reference,
        "status": 200,
        "details": "via_upstream",
        "shape": Shape(100),
        "told": {"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": 4},
        "cut": False,
        "failed": False,
        "slow": False,
        "duration": 245,
        "started_at": 5,
    }
    return Entry(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "status", "source", "tokens"),
    [
        ({}, "success", "provider", (11, 7)),
        ({"cut": True}, "success", "provider", (11, 7)),
        ({"told": {}}, "success", "estimated", (10, 14)),
        ({"told": {}, "shape": Shape(9)}, "success", "estimated", (10, 3)),
        ({"told": {}, "shape": Shape(99, events=True)}, "success", "estimated", (10, 4)),
        ({"told": {}, "shape": Shape(9, encoded=True)}, "success", "estimated", (10, 14)),
        # Of anything but what is heard, seconds say nothing.
        ({"told": {"audio_seconds": 1}}, "success", "estimated", (10, 14)),
        ({"told": {}, "cut": True}, "cancelled", "estimated", (10, 14)),
        ({"told": {}, "cut": True, "shape": Shape(0)}, "cancelled", "none", (0, 0)),
        ({"told": {}, "status": 0, "shape": Shape(0)}, "cancelled", "none", (0, 0)),
        ({"told": {}, "slow": True, "status": 504}, "cancelled", "none", (0, 0)),
        ({"told": {}, "failed": True, "shape": Shape(9)}, "error", "estimated", (10, 3)),
        ({"told": {}, "status": 500}, "error", "none", (0, 0)),
        ({"told": {}, "status": 429}, "error", "none", (0, 0)),
        ({"told": {}, "failed": True, "status": 503}, "error", "none", (0, 0)),
        ({"status": 500}, "error", "provider", (11, 7)),
        # Envoy's own error in the place of a response that the provider did give.
        (
            {"told": {}, "status": 500, "details": "response_payload_too_large"},
            "cancelled",
            "none",
            (0, 0),
        ),
        ({"told": {}, "status": 503, "details": "no_healthy_upstream"}, "error", "none", (0, 0)),
        ({"told": {}, "status": 404, "details": "route_not_found"}, "error", "none", (0, 0)),
        ({"told": {}, "status": 400, "details": ""}, "error", "none", (0, 0)),
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
        ({"told": {"input_tokens": 11}, "cut": True}, "cancelled", "estimated", (11, 14)),
        ({"told": {"input_tokens": 11}}, "success", "estimated", (11, 14)),
    ],
)
def test_what_an_entry_says_of_usage(
    changes: dict[str, Any], status: str, source: str, tokens: tuple[int, int]
) -> None:
    usage = usage_of(entry(**changes))
    assert (usage.status, usage.usage_source) == (status, source)
    assert (usage.prompt_tokens, usage.completion_tokens) == tokens
    assert (usage.reservation_id, usage.key_id, usage.request_id) == ("res_1", "key_1", "r1")
    assert (usage.latency_ms, usage.started_at) == (245, 5)


@pytest.mark.parametrize(
    ("told", "cached"),
    [
        ({"prompt_tokens": 11, "completion_tokens": 7, "cached_tokens": 4}, 4),
        ({"prompt_tokens": 3, "completion_tokens": 7, "cached_tokens": 5}, 3),
        ({"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1}, 4),
        ({"cached_tokens": 5}, 5),  # Of a prompt that is estimated at 10.
    ],
)
def test_cached_tokens_are_never_more_than_the_prompt(told: dict[str, int], cached: int) -> None:
    assert usage_of(entry(told=told)).cached_tokens == cached


def test_a_route_without_output_is_told_by_its_prompt_alone() -> None:
    without = replace(entry().reference, max_output=0)
    usage = usage_of(entry(reference=without, told={"prompt_tokens": 11}))
    assert (usage.status, usage.usage_source) == ("success", "provider")
    assert (usage.prompt_tokens, usage.completion_tokens) == (11, 0)


def test_an_estimate_is_bounded() -> None:
    plain = [estimated_tokens(Shape(size), 10) for size in (0, 1, 4, 5, 1000)]
    assert plain == [0, 1, 1, 2, 10]
    events = [estimated_tokens(Shape(size, events=True), 10) for size in (0, 1, 32, 33, 1000)]
    assert events == [0, 1, 1, 2, 10]
    assert estimated_tokens(Shape(10**400), 10) == 10


def test_headers_tell_the_shape_and_silence_is_dearer() -> None:
    assert shape_of(9, "", "") == shape_of(9, "application/json", " Identity ") == Shape(9)
    assert shape_of(9, "Text/Event-Stream; charset=utf-8", "") == Shape(9, events=True)
    assert shape_of(9, "application/json", "br") == Shape(9, encoded=True)


def test_what_is_heard_is_told_by_its_seconds() -> None:
    heard = replace(entry().reference, action="audio:transcribe")
    usage = usage_of(entry(reference=heard, told={"audio_seconds": 9}))
    assert (usage.usage_source, usage.units) == ("provider", Units(seconds=9))
    silent = usage_of(entry(reference=heard, told={"audio_seconds": 0}))
    assert (silent.usage_source, silent.units) == ("estimated", None)
