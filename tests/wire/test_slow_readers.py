"""Callers that never read their answers: what they cost is bounded, and nobody else waits."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from pathlib import Path

from pdp.serve.transport import MAX_STREAMS, Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.http2 import ACK, SETTINGS, frame, grpc_call, grpc_headers, hello
from tests.stack import eventually_async
from tests.wire.harness import Desk, record, serving
from tests.wire.test_check import request

_PATH = "/pdp.v1.PolicyDecisionService/Check"
_ASKED = request(max_output_tokens=1, estimated_prompt_tokens=1).SerializeToString()


def said(calls: int) -> bytes:
    """Return what asks so many times and leaves no room for an answer."""
    headers = grpc_headers(_PATH)
    asked = (grpc_call(2 * number + 1, headers, _ASKED) for number in range(calls))
    return b"".join((hello(0), frame(SETTINGS, ACK, 0, b""), *asked))


@asynccontextmanager
async def reader(folder: Path, calls: int) -> AsyncIterator[None]:
    """Keep a connection whose streams have no room for a byte of their answers, and not read."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as line:
        line.setblocking(False)
        await loop.sock_connect(line, f"{folder}/pdp.sock")
        talking = asyncio.create_task(loop.sock_sendall(line, said(calls)))
        try:
            yield
        finally:
            talking.cancel()
            # The server may have hung up on what goes too far.
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await talking


def started(desk: Desk) -> int:
    """Return how many Checks have come to the servicer."""
    return next(each for each in desk.methods if each.method == "Check").started


async def test_answers_that_nobody_reads_are_bounded_and_others_are_served(
    transport: Transport, tmp_path: Path
) -> None:
    desk = Desk(record("root"), record("leaf", parent_key_id="root", granted_by="root"))
    own = 0
    async with (
        serving(desk, transport, tmp_path) as stub,
        reader(tmp_path, 4 * MAX_STREAMS),
        reader(tmp_path, MAX_STREAMS // 2),
    ):

        async def all_are_taken() -> bool:
            """Tell whether the readers' calls no longer become more, asking all the while."""
            nonlocal own
            before = started(desk) - own
            for _ in range(40):
                answer = await stub.Check(request(dry_run=True), timeout=30)
                assert answer.decision == pb.DECISION_ALLOW
                own += 1
            return started(desk) - own == before > 0

        await eventually_async(all_are_taken, "the readers' calls are taken", 60)
        assert started(desk) - own <= MAX_STREAMS + MAX_STREAMS // 2


async def test_a_pause_while_many_ask_ends_nobody_s_call(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(Desk(record("leaf")), transport, tmp_path) as stub:
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:

            def many() -> None:
                line = stack.enter_context(socket.socket(socket.AF_UNIX))
                line.connect(f"{tmp_path}/pdp.sock")
                line.sendall(said(MAX_STREAMS))

            wait([pool.submit(many) for _ in range(2)])  # Meanwhile the loop stands still.
            calls = (stub.Check(request(dry_run=True), timeout=60) for _ in range(50))
            answers = await asyncio.gather(*calls)
    assert {answer.decision for answer in answers} == {pb.DECISION_ALLOW}
