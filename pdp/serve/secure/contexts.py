"""What OpenSSL needs to know of a port: its certificate and key, and whose it asks for."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from pdp.certificates import Pems, Renewed, TlsFiles
from pdp.errors import StartRefused

_log = structlog.get_logger(__name__)

ALPN: Final = "h2"

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those that HTTP/2 has left; 1.3 has no others."""


class Contexts:
    """The context of who connects next: another one once the files have changed."""

    def __init__(self, tls: Renewed) -> None:
        """Make the first one; raises `StartRefused`."""
        self._tls = tls
        self._pems = tls.pems
        self._context = _context(tls.files, tls.pems)

    def current(self) -> ssl.SSLContext:
        """Look at the files; a change for the worse is told, and passed over."""
        self._tls.renew()
        pems = self._tls.pems
        if self._pems is not pems:
            try:
                self._context = _context(self._tls.files, pems)
            except StartRefused as error:
                _log.warning("certificate not renewed, the one before stays", reason=str(error))
            self._pems = pems
        return self._context


def _context(files: TlsFiles, pems: Pems) -> ssl.SSLContext:
    assert files.cert is not None, "a server has both"
    assert pems.cert is not None, "a server has both"
    assert pems.key is not None, "a server has both"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # Proxies seldom connect.
    try:
        with _in_memory(pems.cert + b"\n" + pems.key) as path:
            context.load_cert_chain(path, password="")
    except ssl.SSLError as error:
        raise files.cert.refuse(_unfit(error)) from error
    if files.ca is not None and pems.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # The file has who is believed.
        try:
            with _in_memory(pems.ca) as path:
                context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise files.ca.refuse(_unfit(error)) from error
    return context


def _unfit(error: ssl.SSLError) -> str:
    return f"does not serve for TLS: {(error.reason or 'unknown').lower().replace('_', ' ')}"


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Give the path of a file that no disk has: OpenSSL is only told of paths here.

    The files that were read and checked may be others by now.
    """
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
