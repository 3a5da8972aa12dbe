"""One client's TLS, without its socket: bytes go in, and bytes come out."""

import ssl
from contextlib import suppress
from typing import Final

from pdp.serve.secure.contexts import ALPN

_RECORD: Final = 1 << 14
"""Bytes that a record of TLS has at most."""


class NoProtocol(Exception):
    """The client did not ask for HTTP/2."""


class Session:
    """TLS of a connection. `ended`: the client has said that it says no more."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ended = False

    def shake(self, data: bytes) -> bool:
        """Go on with the handshake; tell whether that was all of it.

        Raises `ssl.SSLError` and `NoProtocol`; in any case there may be something `unsent`.
        """
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        if self._tls.selected_alpn_protocol() != ALPN:
            raise NoProtocol
        return True

    def opened(self, data: bytes) -> bytes:
        """Decrypt as much as there is; raises `ssl.SSLError`, also where it was tampered with."""
        incoming, read = self._incoming, self._tls.read
        incoming.write(data)
        found = []
        try:
            while incoming.pending:
                if not (plain := read(_RECORD)):
                    self.ended = True
                    break
                found.append(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return found[0] if len(found) == 1 else b"".join(found)

    def sealed(self, data: bytes) -> bytes:
        """Encrypt."""
        self._tls.write(data)
        return self._outgoing.read()

    def unsent(self) -> bytes:
        """Return what TLS itself has to say."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def farewell(self) -> bytes:
        """Return how to say that nothing more comes."""
        with suppress(ssl.SSLError):  # It waits for the client's own, or there is no line yet.
            self._tls.unwrap()
        return self.unsent()
