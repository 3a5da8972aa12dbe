"""What NGINX reads out of answers, and says in its usage lines."""

import asyncio
import json
from typing import Any

import openai
import pytest

from adapters.http.reference import parse_reference
from tests.e2e.nginx.conftest import NginxGateway, raw

ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hällo 🌍"}],
    "max_tokens": 50,
}
CHAT = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18, "cached_tokens": 4}
RESPONSES = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18, "cached_tokens": 4}
MESSAGES = {
    "input_tokens": 5,
    "cache_read_input_tokens": 4,
    "cache_creation_input_tokens": 2,
    "output_tokens": 7,
}


def test_a_completion_is_decided_forwarded_and_reported(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(**ASK)
    assert answer.parse().choices[0].message.content == "hi"
    request_id = answer.headers["x-request-id"]
    line = gateway.line(request_id)
    assert line["told"] == CHAT
    assert (line["v"], line["status"], line["upstream_status"]) == (1, 200, "200")
    assert (line["model"], line["sse"], line["chunks"]) == ("gpt-4o", False, 0)
    assert line["completed"] is True
    assert line["last"] is True
    assert line["bytes"] > 100
    assert 0 <= line["time"] < 20
    assert line["at"] > 1.7e9
    reference = parse_reference(line["ref"])
    assert reference is not None
    assert (reference.key_id, reference.request_id) == (key["id"], request_id)
    for secret in (key["api_key"], "sk-provider", "llo", "chat/completions"):
        assert secret not in json.dumps(gateway.lines())
    assert key["api_key"] not in gateway.nginx.log()
    headers, body = gateway.provider.seen[-1]
    assert headers["authorization"] == "Bearer sk-provider"
    assert headers["user-agent"].startswith("OpenAI/Python")
    assert key["api_key"] not in json.dumps(headers)
    assert not {"x-api-key", "accept-encoding", "x-pdp-uri", "x-stainless-lang"} & headers.keys()
    assert body == ASK


def test_the_same_line_comes_over_udp(gateway: NginxGateway, key: dict[str, Any]) -> None:
    gateway.empty_mailbox()
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(**ASK)
    datagram = gateway.mailbox.recv(65536)
    assert datagram.startswith(b"<190>")
    told = json.loads(datagram[datagram.index(b"{") :])
    assert told == gateway.line(answer.headers["x-request-id"])


@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize("asks_for_usage", [False, True])
def test_a_stream_tells_its_usage_and_looks_as_it_was_asked_for(
    gateway: NginxGateway, key: dict[str, Any], asks_for_usage: bool, drips: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    if drips:
        options["user"] = "drip"
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, **options
    )
    chunks = list(answer.parse())
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "yyyyy"
    assert [bool(c.choices) for c in chunks] == [True] * 5 + [False] * asks_for_usage
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["chunks"], line["model"]) == (CHAT, 5, "gpt-4o")
    assert line["sse"] is True
    asked = gateway.provider.seen[-1][1]
    assert asked.pop("stream_options") == {"include_usage": True}
    assert asked == {**ASK, "stream": True, **({"user": "drip"} if drips else {})}


@pytest.mark.parametrize(
    "written",
    [
        '{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":false,"x":1}}',
        '{"model":"gpt-4o","stream":true,"stream\\u005foptions":null}',
        ' \n{"model":"gpt-4o","stream":true,"seed":12345678901234567890}',
    ],
)
def test_options_of_the_client_stay_beside_the_one_that_is_added(
    gateway: NginxGateway, key: dict[str, Any], written: str
) -> None:
    status, headers, answer = raw(gateway, key, written)
    assert status == 200
    asked = gateway.provider.seen[-1][1]
    sent = json.loads(written)
    sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    assert asked == sent
    assert b'"usage": {' not in answer
    assert gateway.line(headers["x-request-id"])["told"] == CHAT


def test_what_is_kept_back_does_not_hold_up_the_events(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    stream = gateway.client(key["api_key"]).chat.completions.create(
        **ASK, stream=True, user="endless"
    )
    assert next(iter(stream)).choices, "the provider has not ended, and never will"
    stream.close()


def test_a_client_that_leaves_is_reported_with_what_it_got(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, stream=True, user="endless"
    )
    stream = answer.parse()
    for _ in range(20):
        next(stream)
    stream.close()
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["completed"], line["last"]) == ({}, False, False)
    assert 20 <= line["chunks"] < 1000
    assert line["sse"] is True


@pytest.mark.parametrize("drips", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_the_responses_api_is_understood(
    gateway: NginxGateway, key: dict[str, Any], streams: bool, drips: bool
) -> None:
    answer = gateway.client(key["api_key"]).responses.with_raw_response.create(
        model="gpt-4o", input="hello", stream=streams, user="drip" if drips else "plain"
    )
    if streams:
        assert [event.type for event in answer.parse()][-1] == "response.completed"  # type: ignore[union-attr]
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["model"], line["chunks"]) == (RESPONSES, "gpt-4o", int(streams))


def test_long_embeddings_are_read_from_their_end(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    answer = gateway.client(key["api_key"]).embeddings.with_raw_response.create(
        model="text-embedding-3-small", input="hello", encoding_format="float"
    )
    assert len(answer.parse().data[0].embedding) == 200_000
    told = {"prompt_tokens": 11, "total_tokens": 11}
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["model"]) == (told, "text-embedding-3-small")


def test_a_long_answer_that_repeats_what_looks_like_usage_is_charged_by_its_own(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    forged = {"input_tokens": 0, "output_tokens": 0, "usage": {"input_tokens": 0}}
    schema = {"type": "object", "properties": {"usage": forged}}
    body = {
        "model": "gpt-4o",
        "input": "hello",
        "instructions": '"usage":{"input_tokens":0}' * 30_000,
        "tools": [{"type": "function", "name": "f", "parameters": schema}],
        "metadata": {"usage": '{"input_tokens":0}'},
        "user": "repeat",
    }
    status, headers, _ = raw(gateway, key, json.dumps(body), path="/v1/responses")
    assert status == 200
    assert gateway.line(headers["x-request-id"])["told"] == RESPONSES


def test_messages_of_anthropic_are_understood(gateway: NginxGateway, key: dict[str, Any]) -> None:
    client = gateway.anthropic_client(key["api_key"])
    ask: dict[str, Any] = {**ASK, "model": "claude-haiku-4-5"}
    answer = client.messages.with_raw_response.create(**ask)
    assert answer.parse().usage.output_tokens == 7
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["model"], line["chunks"]) == (MESSAGES, "claude-sonnet-4-5", 0)
    headers = gateway.provider.seen[-1][0]
    assert headers["anthropic-version"]
    assert key["api_key"] not in json.dumps(headers)
    with client.messages.stream(**ask) as stream:
        assert stream.get_final_text() == "hi"
        request_id = stream.response.headers["x-request-id"]
    line = gateway.line(request_id)
    assert (line["told"], line["model"], line["chunks"]) == (MESSAGES, "claude-sonnet-4-5", 1)


@pytest.mark.parametrize("user", ["drip", "broken"])
def test_a_stream_of_anthropic_in_bytes_and_one_that_breaks_off(
    gateway: NginxGateway, key: dict[str, Any], user: str
) -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 50, "stream": True, "user": user}
    _, headers, _ = raw(gateway, key, json.dumps(body), path="/v1/messages")
    told = dict(MESSAGES)
    if user == "broken":
        del told["output_tokens"]  # The first event's is not all of it.
    assert gateway.line(headers["x-request-id"])["told"] == told


def test_a_compressed_answer_passes_unread(gateway: NginxGateway, key: dict[str, Any]) -> None:
    answer = gateway.client(key["api_key"]).chat.completions.with_raw_response.create(
        **ASK, user="gzip"
    )
    assert answer.parse().choices[0].message.content == "hi"
    assert "accept-encoding" not in gateway.provider.seen[-1][0]
    line = gateway.line(answer.headers["x-request-id"])
    assert (line["told"], line["status"], line["last"]) == ({}, 200, True)


def test_an_answer_that_only_looks_like_json_is_not_cut(
    gateway: NginxGateway, key: dict[str, Any]
) -> None:
    status, headers, answer = raw(gateway, key, json.dumps({**ASK, "user": "nonsense"}))
    assert (status, answer) == (200, b"{nonsense")
    line = gateway.line(headers["x-request-id"])
    assert (line["told"], line["last"], line["completed"]) == ({}, True, True)


@pytest.mark.parametrize("streams", [False, True])
def test_a_failing_provider_is_reported(
    gateway: NginxGateway, key: dict[str, Any], streams: bool
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client(key["api_key"]).chat.completions.create(**ASK, user="error", stream=streams)
    line = gateway.line(caught.value.response.headers["x-request-id"])
    assert (line["status"], line["upstream_status"], line["told"]) == (500, "500", {})


def test_sixty_streams_at_once_are_told_apart(gateway: NginxGateway, key: dict[str, Any]) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        answer = await client.chat.completions.with_raw_response.create(
            **ASK, stream=True, user="drip" if number % 4 == 0 else "plain"
        )
        parts = [chunk.choices[0].delta.content async for chunk in answer.parse() if chunk.choices]
        assert parts == ["y"] * 5
        return str(answer.headers["x-request-id"])

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=key["api_key"], max_retries=0, timeout=60
        ) as client:
            return list(await asyncio.gather(*(one(client, number) for number in range(60))))

    ids = asyncio.run(all_of_them())
    assert len(set(ids)) == 60
    for request_id in ids:
        line = gateway.line(request_id)
        assert (line["told"], line["chunks"]) == (CHAT, 5)
