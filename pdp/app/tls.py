"""TLS of the gRPC port, and of the line between the planes from either end."""

from pdp.certificates import Renewed, Use, line_files, port_files, wall_clock
from pdp.errors import StartRefused
from pdp.serve.transport import is_local, reachable, unix_path
from pdp.settings import Settings


def port_tls(settings: Settings) -> Renewed | None:
    """Return the gRPC port's certificates, None: it is plaintext. Raises `StartRefused`."""
    files = port_files(settings)
    return None if files is None else Renewed(files, wall_clock)


def control_target(settings: Settings) -> tuple[str, str]:
    """Return where a data plane finds the control plane, and the setting that says so."""
    if settings.control_url:
        return settings.control_url, "PDP_CONTROL_URL"
    return reachable(settings.control_address), "PDP_CONTROL_LISTEN"


def line_tls(settings: Settings, use: Use, address: str, setting: str) -> Renewed | None:
    """Return a plane's certificates, None where it needs none: on this machine.

    A unix socket has none in any case. Raises `StartRefused`, naming `setting`, which has
    `address`, when that is elsewhere and there are none.
    """
    files = line_files(settings, use)
    if unix_path(address) is not None:
        return None
    if files is not None:
        return Renewed(files, wall_clock)
    if is_local(address):
        return None
    raise StartRefused(
        f"{setting}: `{address}` can be reached from elsewhere, where the planes meet by mutual "
        "TLS only: set PDP_CONTROL_TLS_CERT, PDP_CONTROL_TLS_KEY and PDP_CONTROL_TLS_CA"
    )
