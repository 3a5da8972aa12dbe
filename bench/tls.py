"""What TLS costs: CPU of the data plane for a Check, on either transport, with and without.

.venv/bin/python -m bench.tls [--seconds 3] [--rounds 3] [--out FILE]
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.figures import Figures, options
from bench.load import CHECK, Meter, grpc_load
from bench.stand import Stand, stand

_KINDS = (("native", False), ("native", True), ("grpcio", False), ("grpcio", True))
_LOADS = ((1, 64), (64, 1), (1, 1))
"""Connections, calls in flight on each."""


def measure(figures: Figures, title: str, at: Stand, seconds: int) -> None:
    """Load a stand in each way."""
    for connections, streams in _LOADS:
        at.settle()
        with Meter(at.stack.child_pid("data")) as meter:
            rate = grpc_load(
                at.stack.grpc_port, CHECK, at.check, streams, seconds, connections, at.scheme
            )
        name = f"{title} {connections}x{streams}"
        figures.add(name, rate)
        figures.note(name, "cpu us/req", meter.cpu / (rate * meter.seconds) * 1e6)


def main() -> None:
    chosen = options()
    figures = Figures("req/s")
    with ExitStack() as opened:
        stands = []
        for transport, tls in _KINDS:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            title = f"{transport} with TLS" if tls else transport
            stands.append((title, opened.enter_context(stand(folder, transport, tls=tls))))
        for _ in range(chosen.rounds):
            for title, at in stands:
                measure(figures, title, at, chosen.seconds)
    for connections, streams in _LOADS:
        how = f" {connections}x{streams}"
        figures.show(f"native{how}", only=how)
    figures.save(chosen.out, "tls")


if __name__ == "__main__":
    main()
