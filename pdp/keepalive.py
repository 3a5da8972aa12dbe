"""How either end of the line between the planes notices that the other is gone without a word.

A machine that lost its power, or a cable, sends nothing: TCP alone waits for many minutes.
"""

from typing import Final

KEEPALIVE: Final = 5.0
"""Seconds of silence until a ping, and from there until the connection ends."""

SHORTEST: Final = 4.0
"""Seconds between pings of others without data that are taken for no attack."""


def keepalive_options(seconds: float = KEEPALIVE) -> tuple[tuple[str, int], ...]:
    """Return gRPC's options for it, of a server or a channel."""
    ms = int(seconds * 1000)
    return (
        ("grpc.keepalive_time_ms", ms),
        ("grpc.keepalive_timeout_ms", ms),
        ("grpc.http2.ping_timeout_ms", ms),  # What grpcio waits for in truth: else a minute.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
    )
