"""Clients that check and report without end, send again what was not answered, and keep book.

Whatever a kill interrupts is asked again under the same ids until there is an answer, so
that at the end each request is known to the nano-dollar.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

import grpc

from pdp.v1 import policy_decision_pb2 as pb
from tests.crash.oracle import Asked, Key
from tests.stack import check, report

T = TypeVar("T")

PROMPT, OUTPUT = 100, 50
HELD_COST, HELD_TOKENS = PROMPT * 2500 + OUTPUT * 10_000, PROMPT + OUTPUT
"""nano-USD and tokens that gpt-4o holds."""

_PAUSE = 0.02
_CALL = 5.0
_USUAL = 8


class Book:
    """All requests, and how many reports were acknowledged."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.reports = 0
        self.again = 0
        """Reports that were sent again although they were acknowledged."""
        self.twice: set[str] = set()
        """Requests that were checked more than once: an answer was lost on its way."""


class Client:
    """One client; `dice` decides what it does."""

    def __init__(
        self, channel: grpc.aio.Channel, keys: Sequence[Key], book: Book, dice: random.Random
    ) -> None:
        self._channel = channel
        self._keys = keys
        self._book = book
        self._dice = dice

    async def run(self, name: str, stop: asyncio.Event) -> None:
        """Ask a few, report most of them in one call, until `stop`."""
        number = 0
        while not stop.is_set():
            asked = []
            for _ in range(self._dice.randint(1, 2 * _USUAL)):
                number += 1
                asked.append(await self._ask(f"{name}-{number}"))
            # One in ten is left to run out.
            reported = [each for each in asked if self._dice.random() < 0.9]
            await self._report(reported)

    async def _ask(self, request_id: str) -> Asked:
        """Check, or do not: a usage may come without."""
        asked = Asked(self._dice.choice(self._keys), request_id)
        if self._dice.random() < 0.85:
            answer, calls = await _answered(lambda: self._check(asked))
            if calls > 1:
                self._book.twice.add(request_id)
            asked.reservation_id = answer.reservation_id
            asked.held_cost, asked.held_tokens = HELD_COST, HELD_TOKENS
            self._book.asked.append(asked)
        return asked

    async def _check(self, asked: Asked) -> pb.CheckResponse | None:
        answer = await check(
            self._channel,
            asked.key.secret,
            request_id=asked.request_id,
            estimated_prompt_tokens=PROMPT,
            max_output_tokens=OUTPUT,
        )
        if answer.decision == pb.DECISION_ALLOW:
            return answer
        assert answer.reason == "unavailable", answer
        return None

    async def _report(self, reported: Sequence[Asked]) -> None:
        usages = {each.request_id: self._usage(each) for each in reported}
        left = dict(usages)
        while left:
            done, _ = await _answered(partial(self._send, list(left.values())))
            failed = {error.request_id for error in done.errors}
            assert {error.code for error in done.errors} <= {"unavailable"}, done
            left = {name: usage for name, usage in left.items() if name in failed}
            if left:
                await asyncio.sleep(_PAUSE)
        for each in reported:
            self._settle(each, usages[each.request_id])
        self._book.reports += len(reported)
        if reported and self._dice.random() < 0.2:
            await self._report_again(list(usages.values()))

    async def _send(self, usages: Sequence[dict[str, Any]]) -> pb.ReportResponse:
        return await report(self._channel, *usages)

    async def _report_again(self, usages: Sequence[dict[str, Any]]) -> None:
        """Send what was acknowledged once more, at another price: it must count for nothing."""
        dearer = [{**usage, "cost_usd": "123"} for usage in usages]
        done, _ = await _answered(lambda: self._send(dearer))
        assert done.accepted == 0, "a report that was acknowledged was taken again"
        self._book.again += len(dearer)

    def _usage(self, asked: Asked) -> dict[str, Any]:
        """Return what is reported: by reservation or by request, priced or to be priced."""
        usage: dict[str, Any] = {
            "request_id": asked.request_id,
            "model": "gpt-4o",
            "prompt_tokens": self._dice.randint(0, PROMPT),
            "completion_tokens": self._dice.randint(1, OUTPUT),
            "status": self._dice.choice(("success", "success", "success", "error", "cancelled")),
        }
        if asked.reservation_id and self._dice.random() < 0.5:
            usage["reservation_id"] = asked.reservation_id
        else:
            usage["key_id"] = asked.key.id
        if self._dice.random() < 0.7:
            usage["cost_usd"] = f"{self._dice.randint(0, HELD_COST) / 1e9:.9f}"
        return usage

    def _settle(self, asked: Asked, usage: dict[str, Any]) -> None:
        prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
        priced = prompt * 2500 + completion * 10_000
        if not asked.reservation_id:
            self._book.asked.append(asked)
        asked.status = usage["status"]
        asked.tokens = prompt + completion
        asked.cost = round(float(usage["cost_usd"]) * 1e9) if "cost_usd" in usage else priced


async def _answered(call: Callable[[], Awaitable[T | None]]) -> tuple[T, int]:
    """Call until there is an answer; return it, and how many calls it took."""
    for calls in count(1):
        try:
            async with asyncio.timeout(_CALL):
                found = await call()
        except (grpc.aio.AioRpcError, TimeoutError):
            found = None
        if found is not None:
            return found, calls
        await asyncio.sleep(_PAUSE)
    raise AssertionError("there is no end")
