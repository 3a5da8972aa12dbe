"""How usage comes without a call: NGINX's lines, over UDP and in a file."""

import socket
from collections.abc import Awaitable, Callable, Sequence

from adapters.nginx.usage.channel import Channel
from adapters.nginx.usage.datagrams import Datagrams, bind_datagrams
from adapters.nginx.usage.intake import Engine, Intake
from adapters.nginx.usage.tail import Tail
from pdp.errors import StartRefused
from pdp.serve.transport import is_local
from pdp.settings import Settings

Inflow = Datagrams | Tail


def nginx_inflows(
    settings: Settings,
    engine: Engine,
    durable: Callable[[], Awaitable[None]],
    *,
    shared: bool = False,
) -> Sequence[Inflow]:
    """Return what takes NGINX's usage lines, its port bound; nothing runs yet.

    `shared`: other processes have that port, too. `durable` waits until what was reported
    survives a power cut. Raises `StartRefused`.
    """
    inflows: list[Inflow] = []
    if settings.nginx_usage_file is not None:
        path = settings.nginx_usage_file.absolute()
        if path.exists() and not path.is_file():
            raise StartRefused(f"PDP_NGINX_USAGE_FILE: `{path}` is not a regular file: name one")
        saved = settings.data_dir / "nginx-usage.json"
        inflows.append(Tail(path, saved, Intake(engine, Channel("file")), durable))
    if settings.usage_address != "off":
        # Last: nobody would close it when something else stops the start.
        inflows.append(Datagrams(_bound(settings, shared=shared), Intake(engine, Channel("udp"))))
    return inflows


def _bound(settings: Settings, *, shared: bool) -> socket.socket:
    address = settings.usage_address
    if not is_local(address) and not settings.nginx_usage_trust_network:
        raise StartRefused(
            f"PDP_NGINX_USAGE_LISTEN: `{address}` is not a loopback address, and UDP carries "
            "no credentials: use PDP_NGINX_USAGE_FILE, or set "
            "PDP_NGINX_USAGE_TRUST_NETWORK=true where only NGINX can send there"
        )
    return bind_datagrams(address, "PDP_NGINX_USAGE_LISTEN", shared=shared)
