"""The short way: what goes wrong with one call of a batch is that call's alone."""

import asyncio
from typing import Any

import grpc
import msgspec
import pytest

from pdp.serve.fast import FastServer
from pdp.serve.native import CALL, Event
from pdp.serve.rpc import Answer, MethodStats, Shortcut
from pdp.serve.turn import Turn
from pdp.slot import Slot
from tests.stack import eventually_async

SECOND = 1_000_000_000


class Front:
    """The HTTP/2 side; the callers in `gone` no longer wait."""

    def __init__(self) -> None:
        self.answers: dict[int, bytes] = {}
        self.failures: dict[int, str] = {}
        self.gone: set[int] = set()

    def respond(self, call_id: int, payload: bytes) -> bool:
        if call_id in self.gone:
            return False
        self.answers[call_id] = payload
        return True

    def fail(self, call_id: int, code: int, message: str) -> bool:
        self.failures[call_id] = message
        return True


class Undo:
    """What is to be undone, by the name of the call."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()

    def of(self, name: str) -> Any:
        def undo() -> None:
            if name in self.broken:
                raise RuntimeError(name)
            self.done.append(name)

        return undo


class Batch:
    """A server whose calls are answered with what they say."""

    def __init__(self) -> None:
        self.front = Front()
        self.undo = Undo()
        self.slots: dict[str, Slot[str]] = {}
        self.stats = MethodStats("unary", "service", "Method")
        self.server = FastServer()
        self.server._front = self.front  # type: ignore[assignment]
        handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: None)
        self.server._table = [("/service/Method", handler)]
        self.server._by_id = [Shortcut(self.answer, self.stats, bytes.decode, self.serialize)]

    def answer(self, name: str) -> Any:
        if name == "broken":
            raise RuntimeError(name)
        if name.startswith("later"):
            return self.later(name)
        return Answer(name, self.undo.of(name), void="void" in name)

    async def later(self, name: str) -> Answer:
        if "slot" in name:
            slot = self.slots[name] = Slot()
            await slot
        else:
            await asyncio.sleep(0)
        if "broken" in name:
            raise RuntimeError(name)
        return Answer(name, self.undo.of(name))

    @staticmethod
    def serialize(message: str) -> bytes:
        if "unsayable" in message:
            raise ValueError(message)
        return message.encode()

    def send(self, *names: str, remaining: float | None = None, received: int = 0) -> None:
        events: list[Event] = [
            (CALL, number, 0, name.encode(), None, ((), "peer", remaining))
            for number, name in enumerate(names)
        ]
        self.server.on_events(events, received)


@pytest.fixture
def batch() -> Batch:
    return Batch()


async def test_an_undo_that_fails_leaves_the_others_their_answers(batch: Batch) -> None:
    batch.front.gone = {0, 1}
    batch.undo.broken = {"a"}
    batch.send("a", "b", "c")
    assert batch.front.answers == {2: b"c"}
    assert batch.undo.done == ["b"]
    assert batch.stats.handled == {"OK": 3}


async def test_what_fails_is_told_counted_and_undone(batch: Batch) -> None:
    batch.send("broken", "unsayable", "fine")
    assert batch.front.answers == {2: b"fine"}
    assert set(batch.front.failures) == {0, 1}
    assert batch.undo.done == ["unsayable"]
    assert (batch.stats.started, batch.stats.handled) == (3, {"Internal": 2, "OK": 1})


async def test_an_answer_that_does_not_say_the_decision_undoes_it(batch: Batch) -> None:
    batch.send("void")
    assert batch.front.answers == {0: b"void"}
    assert batch.undo.done == ["void"]


async def test_a_later_answer_that_fails_ends_its_call(batch: Batch) -> None:
    batch.send("later broken", "later unsayable", "later")

    async def ended() -> bool:
        return sum(batch.stats.handled.values()) == 3

    await eventually_async(ended, "all have ended", 5)
    assert batch.front.answers == {2: b"later"}
    assert set(batch.front.failures) == {0, 1}
    assert batch.undo.done == ["later unsayable"]
    assert batch.stats.handled == {"Internal": 2, "OK": 1}
    assert not batch.server._calls


async def test_a_call_that_is_cancelled_before_it_has_begun_ends_as_well(batch: Batch) -> None:
    batch.send("later")
    (call,) = batch.server._calls.values()
    assert call.task is not None
    call.task.cancel()
    await asyncio.gather(call.task, return_exceptions=True)
    assert (batch.stats.started, batch.stats.handled) == (1, {"Canceled": 1})
    assert not batch.server._calls
    assert not batch.front.answers


async def test_a_batch_that_cannot_be_written_is_answered(batch: Batch) -> None:
    def end() -> None:
        raise RuntimeError

    batch.server.take_turns(Turn(lambda: None, end))
    batch.send("a", "b")
    assert batch.front.answers == {0: b"a", 1: b"b"}


async def test_what_is_answered_in_one_turn_is_written_in_one_go_before(batch: Batch) -> None:
    seen: list[str] = []
    turn = Turn(lambda: seen.append("begin"), lambda: seen.append(f"end {batch.front.answers}"))
    batch.server.take_turns(turn)
    batch.send("later slot 1", "later slot 2", "later slot broken", "at once")
    assert batch.front.answers == {3: b"at once"}
    seen.clear()
    with turn:
        for slot in batch.slots.values():
            slot.set_result("")
            slot.awaken()
        assert set(batch.front.answers) == {3}
    assert seen == ["begin", "end {3: b'at once'}"]
    assert batch.front.answers == {0: b"later slot 1", 1: b"later slot 2", 3: b"at once"}
    assert set(batch.front.failures) == {2}
    assert not batch.server._calls


async def test_only_callers_with_the_token_go_the_short_way(batch: Batch) -> None:
    (shortcut,) = batch.server._by_id
    assert shortcut is not None
    batch.server._by_id = [msgspec.structs.replace(shortcut, token=b"open sesame")]

    def goes(*metadata: tuple[str, str]) -> bool:
        return batch.server._takes((CALL, 0, 0, b"a", None, (metadata, "peer", None)), 0)

    assert goes(("user-agent", "x"), ("authorization", "Bearer open sesame"))
    assert not goes(("authorization", "Bearer open says me"))
    assert not goes(("user-agent", "x"))
    assert not goes()


async def test_who_no_longer_waits_when_the_loop_goes_on_gets_no_decision(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdp.serve.fast.perf_counter_ns", lambda: 10 * SECOND)
    batch.send("in time", remaining=2.0, received=9 * SECOND)
    batch.send("", "too late", remaining=2.0, received=7 * SECOND)
    assert batch.front.answers == {0: b"in time"}
    assert list(batch.front.failures.values()) == ["it came too late to be decided: try again"] * 2
    assert batch.stats.handled == {"OK": 1, "DeadlineExceeded": 2}
    assert batch.undo.done == []


async def test_what_is_decided_too_late_is_undone_though_nobody_has_said_that_he_left(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 8 * SECOND
    monkeypatch.setattr("pdp.serve.fast.perf_counter_ns", lambda: now)
    batch.send("later slot", "later too", remaining=2.0, received=7 * SECOND)
    await asyncio.sleep(0)
    now = 10 * SECOND
    batch.slots["later slot"].set_result("")
    batch.slots["later slot"].awaken()

    async def ended() -> bool:
        return batch.stats.handled == {"OK": 2}

    await eventually_async(ended, "both have ended")
    assert "later slot" in batch.undo.done
