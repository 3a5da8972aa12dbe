"""(d) Report in batches of 100 usages, each of its own request, unheld.

    .venv/bin/python -m bench.report [--seconds 3] [--rounds 3] [--out FILE]

Figures are usages a second of the data plane's CPU: what one core takes.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figures, options
from bench.load import Meter
from bench.stand import Stand, stand
from pdp.v1 import policy_decision_pb2 as pb
from pdp.v1 import policy_decision_pb2_grpc as pb_grpc

_BATCH = 100
_IN_FLIGHT = 4


def batches(key_id: str) -> Iterator[pb.ReportRequest]:
    """Yield requests without end; no request id comes twice."""
    for number in itertools.count():
        yield pb.ReportRequest(
            usages=[
                pb.Usage(
                    request_id=f"{time.time_ns():x}-{number}-{index}",
                    key_id=key_id,
                    action="chat:completions",
                    model="gpt-4o",
                    status="success",
                    prompt_tokens=100,
                    completion_tokens=50,
                    latency_ms=245,
                    usage_source="provider",
                )
                for index in range(_BATCH)
            ]
        )


async def load(at: Stand, seconds: int, at_a_time: int = _IN_FLIGHT) -> int:
    """Report for a time, some batches at a time; return how many usages were accepted."""
    end = time.monotonic() + seconds
    accepted = 0
    async with at.stack.channel() as channel:
        stub = pb_grpc.PolicyDecisionServiceStub(channel)
        ready = batches(at.key["id"])

        async def one() -> None:
            nonlocal accepted
            while time.monotonic() < end:
                answer = await stub.Report(next(ready))
                assert not answer.errors, answer
                accepted += answer.accepted

        await asyncio.gather(*(one() for _ in range(at_a_time)))
    return accepted


def main() -> None:
    chosen = options()
    figures = Figures("usages/s")
    for transport in ("native", "grpcio"):
        with (
            tempfile.TemporaryDirectory() as name,
            stand(Path(name), transport) as at,
        ):
            for _ in range(chosen.rounds):
                with Meter(at.stack.child_pid("data")) as meter:
                    accepted = asyncio.run(load(at, chosen.seconds))
                figures.add(f"{transport} per cpu second", accepted / meter.cpu)
                figures.add(f"{transport} by the clock", accepted / meter.seconds)
    figures.show("native per cpu second")
    figures.save(chosen.out, "report")


if __name__ == "__main__":
    main()
