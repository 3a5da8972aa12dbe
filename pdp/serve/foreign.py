"""What C libraries write to stderr, above all gRPC on TLS: their lines become events of the log.

Anybody who can reach a port can make gRPC write a line, so each kind is told once in a
while, with how often it came. What is of no known form, such as the last words of a crash,
is told line by line.
"""

import asyncio
import re
from typing import Final

import structlog

from pdp.data.quiet import Kinds

_log = structlog.get_logger(__name__)

_ABSL: Final = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ (\S+:\d+)\] (.*)")
"""Severity, place in gRPC's source, text."""

_HANDSHAKE: Final = re.compile(r"Handshake failed .*OPENSSL_internal:(\w+)(?:: (.*))?")

_LONGEST: Final = 1000


class ForeignLines:
    """Lines of one process; `take` them as they come."""

    def __init__(self, plane: str) -> None:
        self._plane = plane
        self._kinds = Kinds()

    def take(self, line: str) -> None:
        """Tell a line, or count it."""
        found = _ABSL.match(line)
        if found is None:
            _log.warning("a library says", plane=self._plane, line=line[:_LONGEST])
        elif failed := _HANDSHAKE.match(found[3]):
            reason = _reason(failed[1], failed[2])
            self._tell(reason, "TLS handshake failed", reason=reason)
        else:
            self._tell(found[2], "gRPC says", line=found[3][:_LONGEST])

    def _tell(self, kind: str, event: str, **fields: str) -> None:
        passed_over = self._kinds.over(kind)
        if passed_over is not None:
            _log.warning(event, plane=self._plane, **fields, passed_over=passed_over)


def _reason(name: str, more: str | None) -> str:
    """Return why a handshake failed, in words of the library."""
    if name == "CERTIFICATE_VERIFY_FAILED" and more:
        return more  # `certificate has expired`
    return name.lower().replace("_", " ")


async def hear(stream: asyncio.StreamReader, lines: ForeignLines) -> None:
    """Take the lines of a stream until its end."""
    rest = b""
    while chunk := await stream.read(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            lines.take(line.decode(errors="replace"))
        if len(rest) > _LONGEST:
            lines.take(rest.decode(errors="replace"))
            rest = b""
    if rest:
        lines.take(rest.decode(errors="replace"))
