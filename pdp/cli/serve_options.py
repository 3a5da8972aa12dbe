"""What `pdp serve` takes: settings, each with its variable and its default."""

from typing import Annotated, Any, Final

import typer

from pdp.settings import PREFIX, Settings

_DEFAULTS: Final = Settings()


def _setting(name: str, metavar: str, what: str, default: str = "") -> Any:
    """Return the option of a setting; `default` where it is no value, but in words."""
    value = getattr(_DEFAULTS, name)
    told = default or ("" if value is None else str(value))
    more = f"; default: {told}" if told else ""
    return typer.Option(
        metavar=metavar, help=f"{what} [{PREFIX}{name.upper()}{more}]", show_default=False
    )


_ADDRESS: Final = "ADDRESS"
_FILE: Final = "FILE"

Text = str | None
"""Numbers, too: the settings read them, and say what is wrong with one in a line."""

DataDir = Annotated[Text, _setting("data_dir", "FOLDER", "Database, spool, pepper and sockets.")]
DatabaseUrl = Annotated[
    Text,
    _setting(
        "database_url",
        "URL",
        "postgresql://user@host/db or sqlite:////path. A password belongs into the variable.",
        "SQLite in the data dir",
    ),
]
RedisUrl = Annotated[
    Text,
    _setting(
        "redis_url", "URL", "redis://host:6379: counters of several data planes.", "in memory"
    ),
]
GrpcListen = Annotated[
    Text,
    _setting("grpc_listen", _ADDRESS, "Check, Report, Envoy: host:port or unix:/path."),
]
HttpListen = Annotated[
    Text, _setting("http_listen", _ADDRESS, "The admin API: host:port or unix:/path.")
]
NginxListen = Annotated[
    Text, _setting("nginx_listen", _ADDRESS, "What NGINX asks: host:port or unix:/path.")
]
OpsListen = Annotated[
    Text, _setting("ops_listen", _ADDRESS, "/metrics, /livez, /readyz: host:port or unix:/path.")
]
ControlListen = Annotated[
    Text,
    _setting(
        "control_listen",
        _ADDRESS,
        "Where the control plane waits for data planes.",
        "control.sock in the data dir",
    ),
]
ControlUrl = Annotated[
    Text,
    _setting("control_url", _ADDRESS, "Where `--plane data` finds the control plane: host:port."),
]
TlsCert = Annotated[
    Text, _setting("tls_cert", _FILE, "PEM: the gRPC port's certificate.", "plaintext")
]
TlsKey = Annotated[Text, _setting("tls_key", _FILE, "PEM: its key.")]
TlsClientCa = Annotated[
    Text, _setting("tls_client_ca", _FILE, "PEM: whose certificates callers must show.")
]
ControlTlsCert = Annotated[
    Text, _setting("control_tls_cert", _FILE, "PEM: what this plane shows the other one.")
]
ControlTlsKey = Annotated[Text, _setting("control_tls_key", _FILE, "PEM: its key.")]
ControlTlsCa = Annotated[
    Text, _setting("control_tls_ca", _FILE, "PEM: whose certificates the other may show.")
]
ControlTlsName = Annotated[
    Text,
    _setting(
        "control_tls_name",
        "NAME",
        "The name in the control plane's certificate.",
        "the host of --control-url",
    ),
]
Workers = Annotated[
    Text,
    _setting("workers", "1..64", "Processes of the data plane; more than one need Redis."),
]
MaxStaleness = Annotated[
    Text,
    _setting("max_staleness", "SECONDS", "How long cached keys go on without the control plane."),
]
BudgetStatus = Annotated[
    Text,
    _setting("budget_status", "403|402|429", "The HTTP status of `budget_exceeded`."),
]
TrustedHops = Annotated[
    Text,
    _setting(
        "trusted_hops",
        "NUMBER",
        "Proxies in front of Envoy or NGINX that append to X-Forwarded-For.",
    ),
]
HttpTrustedHops = Annotated[
    Text,
    _setting(
        "http_trusted_hops",
        "NUMBER",
        "Proxies in front of the admin API that append to X-Forwarded-For.",
    ),
]
KeyPepper = Annotated[
    Text,
    _setting(
        "key_pepper",
        "TEXT",
        "Keys the hashes of API keys. Others can read a command line: the variable is better.",
        "made by `pdp init`, kept in the data dir",
    ),
]
