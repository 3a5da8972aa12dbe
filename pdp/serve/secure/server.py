"""The native transport with TLS: a port in front of it, in the same process and event loop."""

import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from pdp.certificates import Renewed
from pdp.serve.fast import FastServer
from pdp.serve.secure.contexts import Contexts
from pdp.serve.secure.port import TlsPort


class SecuredServer(FastServer):
    """A server whose port may have TLS; behind it is a unix socket that only we can reach."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._port: TlsPort | None = None
        self._folder: str | None = None

    def add_tls_port(self, listener: socket.socket, tls: Renewed) -> None:
        """Take calls of a bound socket; raises `StartRefused`."""
        contexts = Contexts(tls)
        self._folder = tempfile.mkdtemp(prefix="pdp-tls-")
        inside = Path(self._folder) / "h2.sock"
        self.add_insecure_port(f"unix:{inside}")
        self._port = TlsPort(listener, inside, contexts)

    def caller(self, peer: str) -> str:
        """Return who calls over TLS where a call's peer is `unix:N`.

        N counts the unix connections that native servers of this process have taken: so it must
        have this one alone.
        """
        number = peer.removeprefix("unix:")
        found = self._port and number.isdecimal() and self._port.caller(int(number))
        return found or peer

    async def start(self) -> None:
        """Take calls."""
        await super().start()
        if self._port is not None:
            self._port.start()

    async def stop(self, grace: float | None = None) -> None:
        """Take no more connections, answer what is in flight within `grace` seconds, and close."""
        if self._port is not None:
            await self._port.refuse()
        await super().stop(grace)
        if self._port is not None:
            await self._port.finish()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
