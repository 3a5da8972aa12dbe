"""(b) Check and (c) ext_authz over the wire, against an empty handler on the same transport.

    .venv/bin/python -m bench.wire [--seconds 3] [--rounds 3] [--out FILE]

At 1 and 64 in flight, on both transports; beside them, where it is installed (see
bench/cerbos.py), the peer Cerbos answers an equivalent check.
"""

import tempfile
from pathlib import Path

from bench.cerbos import cerbos
from bench.figures import Figures, options
from bench.load import CHECK, EXT_AUTHZ, Meter, grpc_load, rss
from bench.stand import echo, stand


def run(transport: str, seconds: int, rounds: int) -> Figures:
    """Measure one transport."""
    figures = Figures("req/s")
    with (
        tempfile.TemporaryDirectory() as name,
        stand(Path(name), transport) as at,
        echo(transport) as (echo_port, echo_pid),
        cerbos(Path(name)) as peer,
    ):
        data = at.stack.child_pid("data")
        targets = [
            ("echo", echo_port, CHECK, at.check, echo_pid),
            ("check", at.stack.grpc_port, CHECK, at.check, data),
            ("ext_authz", at.stack.grpc_port, EXT_AUTHZ, at.ext_authz, data),
        ]
        if peer is not None:
            targets.append(("cerbos", *peer))
        for _ in range(rounds):
            for streams in (1, 64):
                for what, port, path, body, pid in targets:
                    at.settle()
                    with Meter(pid) as meter:
                        rate = grpc_load(port, path, body, streams, seconds)
                    title = f"{transport} {what} x{streams}"
                    figures.add(title, rate)
                    figures.note(title, "cpu us/req", meter.cpu / (rate * meter.seconds) * 1e6)
                    figures.note(title, "rss MB", rss(pid))
    return figures


def main() -> None:
    chosen = options()
    for transport in ("native", "grpcio"):
        figures = run(transport, chosen.seconds, chosen.rounds)
        for streams in (1, 64):
            figures.show(f"{transport} echo x{streams}", only=f"x{streams}")
        figures.save(chosen.out, f"wire {transport}")


if __name__ == "__main__":
    main()
