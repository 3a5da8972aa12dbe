"""A stream of two hours: its heartbeats keep its hold, and its end settles it."""

import json
from collections.abc import AsyncIterator
from typing import Final

from adapters.envoy.service import AccessLog, Authorization
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.ask import HttpOptions
from pdp.records import Expired, Extended, Settled
from tests.wire.harness import Desk, record

_SECOND: Final = 1_000_000_000
_HEARTBEATS: Final = 119
"""One a minute, as `access_log_flush_interval: 60s` of the example says; then the end."""

_OUTPUT: Final = 1000
_MESSAGE: Final = {"role": "user", "content": "x" * 2000}
_BODY: Final = json.dumps(
    {"model": "gpt-4o", "stream": True, "max_tokens": _OUTPUT, "messages": [_MESSAGE]}
)
_HELD: Final = (len(_BODY) + 3) // 4 * 1000 + _OUTPUT * 2000
"""Nano-USD, by the prices of the harness."""


class Stream:
    """One permitted stream of a key with a daily budget of 1 USD, and the time."""

    def __init__(self) -> None:
        self.desk = Desk(record("root"), record("leaf", parent_key_id="root", granted_by="root",
                                                 budget_limits={"daily": 1.0}))  # fmt: skip
        self.start = self.desk.clock.now
        service = Authorization(self.desk.engine, HttpOptions("envoy"), 4096, self.desk.load)
        message = pb.CheckRequest()
        http = message.attributes.request.http
        http.method, http.path, http.raw_body = "POST", "/v1/chat/completions", _BODY.encode()
        http.headers.update({"authorization": "Bearer leaf", "content-type": "application/json"})
        answer = service.check_now(message).message  # type: ignore[union-attr]
        self._metadata = pb.CheckResponse.FromString(answer).dynamic_metadata

    async def minute(self) -> None:
        """Let a minute pass, a second at a time, as the data plane's sweep does."""
        for _ in range(60):
            self.desk.clock.now += _SECOND
            await self.desk.engine.expire()
        self.desk.counters.prune(self.desk.clock.now)

    def entry(self, *, intermediate: bool = False) -> pb.StreamAccessLogsMessage:
        """Return the message that Envoy sends; the last has what the provider told."""
        message = pb.StreamAccessLogsMessage()
        entry = message.http_logs.log_entry.add()
        common = entry.common_properties
        common.intermediate_log_entry = intermediate
        common.metadata.filter_metadata["envoy.filters.http.ext_authz"].CopyFrom(self._metadata)
        entry.response.response_code.value = 200
        if not intermediate:
            told = common.metadata.filter_metadata["llm.usage"].fields
            told["prompt_tokens"].number_value = 500
            told["completion_tokens"].number_value = 300
            common.duration.seconds = (self.desk.clock.now - self.start) // _SECOND
        return message

    def start_entry(self) -> pb.StreamAccessLogsMessage:
        """Return what Envoy sends before it has asked: there is no decision to refer to yet."""
        message = pb.StreamAccessLogsMessage()
        message.http_logs.log_entry.add().common_properties.intermediate_log_entry = True
        return message

    def budget(self) -> tuple[int, int]:
        """Return (spent, held) of the daily budget."""
        key = self.desk.keys.by_id("leaf")
        assert key is not None
        (limit,) = self.desk.counters.status(key.plan.scopes, self.desk.clock.now)
        return limit.spent, limit.held

    async def log(self, messages: AsyncIterator[pb.StreamAccessLogsMessage]) -> None:
        """Feed one stream of the access log."""
        await AccessLog(self.desk.engine).stream(messages, None)


async def test_a_stream_of_two_hours_stays_held_and_is_settled_at_its_end() -> None:
    stream = Stream()
    seen: list[tuple[int, int]] = []

    async def entries() -> AsyncIterator[pb.StreamAccessLogsMessage]:
        yield stream.start_entry()
        for _ in range(_HEARTBEATS):
            await stream.minute()
            seen.append(stream.budget())
            yield stream.entry(intermediate=True)
        await stream.minute()
        seen.append(stream.budget())
        yield stream.entry()

    assert stream.budget() == (0, _HELD)
    await stream.log(entries())
    assert seen == [(0, _HELD)] * 120, "held in every minute of it"
    assert stream.desk.clock.now - stream.start == 7200 * _SECOND
    assert stream.budget() == (500 * 1000 + 300 * 2000, 0)
    settled = [each for each in stream.desk.sink.records if isinstance(each, Settled)]
    assert [(each.status, each.latency_ms) for each in settled] == [("success", 7_200_000)]
    assert not [each for each in stream.desk.sink.records if isinstance(each, Expired)]


async def test_without_heartbeats_a_stream_runs_out_after_its_term() -> None:
    stream = Stream()
    for _ in range(9):
        await stream.minute()
    assert stream.budget() == (0, _HELD)
    await stream.minute()
    assert stream.budget() == (_HELD, 0), "charged in full: nobody said what was used"
    assert [type(each) for each in stream.desk.sink.records][-1] is Expired


async def test_the_term_counts_from_the_last_heartbeat() -> None:
    stream = Stream()

    async def entries() -> AsyncIterator[pb.StreamAccessLogsMessage]:
        for _ in range(30):
            await stream.minute()
            yield stream.entry(intermediate=True)

    await stream.log(entries())
    for _ in range(9):
        await stream.minute()
    assert stream.budget() == (0, _HELD)
    await stream.minute()
    assert stream.budget() == (_HELD, 0)
    assert sum(isinstance(each, Extended) for each in stream.desk.sink.records) == 30


async def test_the_end_of_a_stream_that_ran_out_corrects_its_charge() -> None:
    stream = Stream()
    for _ in range(120):
        await stream.minute()
    assert stream.budget() == (_HELD, 0)

    async def entries() -> AsyncIterator[pb.StreamAccessLogsMessage]:
        yield stream.entry()

    await stream.log(entries())
    assert stream.budget() == (500 * 1000 + 300 * 2000, 0)
