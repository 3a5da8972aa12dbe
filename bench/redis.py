"""Check and Report, counted in memory and in Redis: the same key, turn by turn.

    .venv/bin/python -m bench.redis [--seconds 3] [--rounds 3] [--out FILE]

Reports come in batches of 100, one batch after another: as of one Envoy's access log.
"""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figures, options
from bench.load import CHECK, Meter, grpc_load
from bench.report import load as reports
from bench.stand import stand
from tests.redis import running_redis


def main() -> None:
    chosen = options()
    figures = Figures("req/s")
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        assert server.process is not None
        settings = {"PDP_REDIS_URL": server.local_url, "PDP_REDIS_DEADLINE": "2"}
        stands = []
        for name, own in (("memory", {}), ("redis", settings)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            stands.append((name, stack.enter_context(stand(folder, "native", **own))))
        for _ in range(chosen.rounds):
            for streams in (1, 64):
                for name, at in stands:
                    for _, each in stands:
                        each.settle()  # Else one pays for what the other has left to its ledger.
                    pid = at.stack.child_pid("data")
                    with Meter(pid) as meter, Meter(server.process.pid) as theirs:
                        rate = grpc_load(
                            at.stack.grpc_port, CHECK, at.check, streams, chosen.seconds
                        )
                    title = f"{name} x{streams}"
                    per_second = rate * meter.seconds
                    figures.add(title, rate)
                    figures.note(title, "cpu us/req", meter.cpu / per_second * 1e6)
                    figures.note(title, "redis cpu us/req", theirs.cpu / per_second * 1e6)
            for name, at in stands:
                with Meter(at.stack.child_pid("data")) as meter:
                    accepted = asyncio.run(reports(at, chosen.seconds, at_a_time=1))
                figures.add(f"{name} usages", accepted / meter.seconds)
                figures.note(f"{name} usages", "cpu us", meter.cpu / accepted * 1e6)
    for kind in ("x1", "x64", "usages"):
        figures.show(f"memory {kind}", only=kind)
    figures.save(chosen.out, "redis")


if __name__ == "__main__":
    main()
