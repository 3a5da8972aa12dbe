"""TLS of gRPC: credentials of servers, channels of clients, and what went wrong in a handshake.

grpcio's servers ask every client for a certificate or none: one that may be left out is
nothing they have.
"""

import re
from collections.abc import Sequence
from typing import Any

import grpc

from pdp.certificates import Pems, Renewed

_NAME = "grpc.ssl_target_name_override"

OTHER_NAME = "its certificate has another name"


def server_credentials(tls: Renewed) -> grpc.ServerCredentials:
    """Return credentials that look before each handshake whether the files have changed.

    Where there is a CA, who shows no certificate of it gets no further than the handshake.
    """
    shown = tls.pems

    def renewed() -> Any:  # gRPC calls this in a thread of its own.
        nonlocal shown
        tls.renew()
        if shown is tls.pems:
            return None
        shown = tls.pems
        return _configuration(shown)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown), renewed, require_client_authentication=shown.ca is not None
    )


def open_channel(
    target: str,
    pems: Pems | None,
    *,
    server_name: str | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> grpc.aio.Channel:
    """Open a channel: plaintext without `pems`, else with what they show and believe.

    `server_name`: the name that the server's certificate must have; default: the host.
    """
    if pems is None:
        return grpc.aio.insecure_channel(target, options=options)
    name = () if server_name is None else ((_NAME, server_name),)
    credentials = grpc.ssl_channel_credentials(pems.ca, pems.key, pems.cert)
    return grpc.aio.secure_channel(target, credentials, options=(*options, *name))


def handshake_fault(details: str) -> str:
    """Return in a few words why TLS did not come about, by what gRPC says; empty: it is not that.

    A server that refuses our certificate only closes the connection.
    """
    if "Hostname Verification" in details:
        return OTHER_NAME
    if "WRONG_VERSION_NUMBER" in details:
        return "it does not speak TLS"
    if found := re.search(r"CERTIFICATE_VERIFY_FAILED: ([\w ,-]+)", details):
        return f"its certificate is not accepted: {found[1].strip()}"
    if "andshake" in details:
        return "the TLS handshake failed"
    return ""


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    assert pems.key is not None, "a server has both"
    assert pems.cert is not None, "a server has both"
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.cert)], pems.ca)
