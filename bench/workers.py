"""Check over the wire with one data plane and with two (`PDP_WORKERS`), turn by turn, on one Redis.

    .venv/bin/python -m bench.workers [--seconds 3] [--rounds 3] [--out FILE]

64 in flight over 16 connections, which the kernel spreads.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figures, options
from bench.load import CHECK, Meter, grpc_load, rss
from bench.stand import stand
from tests.redis import running_redis

_CONNECTIONS, _STREAMS = 16, 4


def main() -> None:
    chosen = options()
    figures = Figures("req/s")
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        assert server.process is not None
        settings = {"PDP_REDIS_URL": server.local_url, "PDP_REDIS_DEADLINE": "2"}
        stands = []
        for workers in ("1", "2"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            own = {**settings, "PDP_WORKERS": workers}
            stands.append((workers, stack.enter_context(stand(folder, "native", **own))))
        for _ in range(chosen.rounds):
            for workers, at in stands:
                at.settle()
                pids = at.stack.child_pids("data")
                assert len(pids) == int(workers)
                with Meter(*pids) as meter, Meter(server.process.pid) as theirs:
                    rate = grpc_load(
                        at.stack.grpc_port, CHECK, at.check, _STREAMS, chosen.seconds, _CONNECTIONS
                    )
                title = f"workers {workers}"
                per_second = rate * meter.seconds
                figures.add(title, rate)
                figures.note(title, "cpu us/req", meter.cpu / per_second * 1e6)
                figures.note(title, "redis cpu us/req", theirs.cpu / per_second * 1e6)
                for pid in pids:
                    figures.note(title, "rss MB of a worker", rss(pid))
                assert at.stack.process is not None
                figures.note(title, "rss MB of the supervisor", rss(at.stack.process.pid))
    figures.show("workers 1")
    figures.save(chosen.out, "workers")


if __name__ == "__main__":
    main()
