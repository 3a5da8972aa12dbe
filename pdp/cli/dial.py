"""How a command reaches a running server: where it is, over what, and who calls."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    import grpc

    from pdp.certificates import PemFile, Pems
    from pdp.settings import Settings

Server = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="host:port or unix:/path. [PDP_GRPC_LISTEN; default: 127.0.0.1:9191]",
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Speak TLS, and believe this CA. [PDP_CHECK_TLS_CA]"),
]
TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Show a certificate. [PDP_CHECK_TLS_CERT]")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key. [PDP_CHECK_TLS_KEY]")]
TlsName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The name in the server's certificate. [PDP_CHECK_TLS_NAME; default: the "
        "host of --server]",
    ),
]


class Dial(NamedTuple):
    """What the options say of it; each stands before the setting of the same name."""

    server: str | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    name: str | None

    def address(self, settings: "Settings") -> str:
        """Return where the server is."""
        from pdp.serve.transport import reachable

        return self.server or reachable(settings.grpc_listen)

    def open(self, settings: "Settings") -> "grpc.aio.Channel":
        """Open a channel. Raises `StartRefused` for files that are of no use."""
        from pdp.tls import open_channel

        name = self.name or settings.check_tls_name
        return open_channel(self.address(settings), self._pems(settings), server_name=name)

    def _pems(self, settings: "Settings") -> "Pems | None":
        from pdp.certificates import TlsFiles, load, needed, wall_clock

        ca = _file("ca", self.ca, settings.check_tls_ca)
        cert = _file("cert", self.cert, settings.check_tls_cert)
        key = _file("key", self.key, settings.check_tls_key)
        shown = cert or key
        if shown is not None and (cert is None or key is None):
            raise needed("--tls-key" if key is None else "--tls-cert", shown)
        if ca is None:
            if shown is None:
                return None
            raise needed("--tls-ca", shown)
        return load(TlsFiles("client", cert, key, ca), wall_clock())


def _file(name: str, option: Path | None, setting: Path | None) -> "PemFile | None":
    from pdp.certificates import PemFile

    if option is not None:
        return PemFile(f"--tls-{name}", option)
    return None if setting is None else PemFile(f"PDP_CHECK_TLS_{name.upper()}", setting)
