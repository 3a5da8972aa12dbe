"""Settings: from the environment, prefix `PDP_`. The one place that says what there is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Struct

from pdp.errors import StartRefused
from pdp.hidden import Hidden
from pdp.options import Options
from pdp.secret import MIN_PEPPER
from pdp.setting_text import (
    Choice,
    PathOf,
    Reader,
    Seconds,
    Secret,
    Whole,
    address,
    filled,
    redis_server,
    switch,
    token,
    udp_address,
)
from pdp.spool.room import MAX_BYTES

PREFIX: Final = "PDP_"
_MONTH: Final = 30 * 86400

Address = Annotated[str, address]
File = Annotated[Path | None, PathOf("file")]
Name = Annotated[str | None, filled]
Hops = Annotated[int, Whole(0, 32)]


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, with its default. Durations in seconds unless the name says otherwise.

    Each says beside its type how its text is read; of a `Literal` that is clear.
    """

    data_dir: Annotated[Path, PathOf("folder")] = Path("pdp-data")
    """Database, spool, pepper and sockets."""
    database_url: Annotated[Hidden | None, Secret()] = None
    """Of SQLite or PostgreSQL; default: SQLite in the data dir. May have a password in it."""
    redis_url: Annotated[Hidden | None, redis_server] = None
    """Counters in Redis (pdp/counters/redis/address.py has the forms); unset: in memory."""
    redis_deadline: Annotated[float, Seconds(0.001, _MONTH)] = 0.05
    """How long a call of Redis may take before it counts as away."""
    redis_connections: Annotated[int, Whole(1, 10_000)] = 64
    on_backend_error: Literal["deny", "allow"] = "deny"
    """What budgets and quotas do without Redis that do not say so themselves."""
    reconcile: Literal["check", "correct"] = "check"
    """What a control plane does where counters in Redis differ from the ledger."""
    grpc_listen: Address = "127.0.0.1:9191"
    http_listen: Address = "127.0.0.1:8080"
    nginx_listen: Address = "127.0.0.1:9292"
    nginx_max_body: Annotated[int, Whole(1024, 134_217_728)] = 8_388_608
    """Bytes of a request's body that NGINX may pass; a longer one is refused."""
    nginx_usage_listen: Annotated[str | None, udp_address] = None
    """UDP: where NGINX sends its usage lines; `off`: nowhere; default: `usage_address`."""
    nginx_usage_file: File = None
    """The file that NGINX writes its usage lines to, which is followed; unset: none."""
    nginx_usage_trust_network: Annotated[bool, switch] = False
    """Take usage lines off loopback, where whoever knows a reservation can settle it."""
    ops_listen: Address = "0.0.0.0:9464"
    control_listen: Annotated[str | None, address] = None
    """Where the planes meet; default: `control.sock` in the data dir."""
    control_url: Annotated[str | None, address] = None
    """Where a data plane of its own finds the control plane."""
    key_pepper: Annotated[Hidden | None, Secret(MIN_PEPPER)] = None
    """Keys the hashes of API keys; the same on every plane."""
    caller_token: Annotated[Hidden | None, token] = None
    """What callers of Check and Report, and NGINX, must present off loopback."""
    tls_cert: File = None
    """PEM: the gRPC port's certificate, with those that lead to its CA; unset: plaintext."""
    tls_key: File = None
    tls_client_ca: File = None
    """PEM: callers of the gRPC port must show a certificate of one of these, and no token."""
    control_tls_cert: File = None
    """PEM: what this plane shows the other; with the key and the CA, or none of the three."""
    control_tls_key: File = None
    control_tls_ca: File = None
    """PEM: whose certificates the other plane may show."""
    control_tls_name: Name = None
    """The name in the control plane's certificate; default: the host of `control_url`."""
    check_tls_ca: File = None
    """PEM: whom `pdp check` believes, over TLS; unset: it speaks plaintext."""
    check_tls_cert: File = None
    """PEM: what it shows, with its key."""
    check_tls_key: File = None
    check_tls_name: Name = None
    workers: Annotated[int, Whole(1, 64)] = 1
    max_staleness: Annotated[float, Seconds(0, _MONTH)] = 600
    """How long cached keys are served without the control plane."""
    budget_status: Literal[403, 402, 429] = 403
    trusted_hops: Hops = 0
    """How many proxies in front of Envoy or NGINX append to X-Forwarded-For."""
    http_trusted_hops: Hops = 0
    """How many proxies in front of the admin API append to X-Forwarded-For."""
    default_output_tokens: Annotated[int, Whole(0, 10_000_000)] = 4096
    estimate: Literal["normal", "strict"] = "normal"
    """Prompt tokens of a body: a quarter of its bytes, or all of them."""
    hold_ttl: Annotated[float, Seconds(1, _MONTH)] = 600
    unreported: Literal["full", "input", "zero"] = "full"
    """What a hold is charged when nobody reports its usage."""
    unknown_price: Literal["deny", "allow"] = "deny"
    prices_file: File = None
    """JSON with prices that go before the built-in ones."""
    audit_retention_days: Annotated[int | None, Whole(1, 36_500)] = None
    """Entries of the audit log older than this are deleted; unset: all are kept."""
    spool_max_bytes: Annotated[int, Whole(1 << 20)] = MAX_BYTES
    """What the spool may take of the disk while the ledger is away (docs/durability.md)."""
    key_cache_size: Annotated[int, Whole(1)] = 100_000
    grpc_transport: Literal["auto", "native", "grpcio"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file of this machine, and so the pepper may be one, too."""
        return not self.database_url or self.database_url.reveal().startswith("sqlite")

    @property
    def control_address(self) -> str:
        """Where the control plane listens."""
        return self.control_listen or f"unix:{self.data_dir.absolute() / 'control.sock'}"

    @property
    def usage_address(self) -> str:
        """Where usage lines come over UDP, or `off`; unset: loopback, at the NGINX port's number.

        So who moves that port, as a second server on the machine must, has moved both.
        """
        if self.nginx_usage_listen is not None:
            return self.nginx_usage_listen
        port = self.nginx_listen.rpartition(":")[2]
        return "127.0.0.1:9292" if self.nginx_listen.startswith("unix:") else f"127.0.0.1:{port}"

    @property
    def spool_dir(self) -> Path:
        """Where the data plane keeps its spool."""
        return self.data_dir / "spool"


def load_settings() -> Settings:
    """Read the environment. Raises `StartRefused` with one line that names the wrong setting."""
    return read_settings(os.environ)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of an environment.

    Raises `StartRefused` with one line that names the first that is wrong.
    """
    values: dict[str, object] = {}
    for field, hint in get_type_hints(Settings, include_extras=True).items():
        variable = f"{PREFIX}{field.upper()}"
        if variable in environment:
            try:
                values[field] = _reader_of(hint)(environment[variable])
            except ValueError as error:
                message = str(error)  # A library's own begins like a sentence.
                raise StartRefused(f"{variable}: {message[:1].lower()}{message[1:]}") from None
    return Settings(**values)  # type: ignore[arg-type]  # Each is what its reader makes.


def _reader_of(hint: object) -> Reader:
    if get_origin(hint) is Literal:
        return Choice(get_args(hint))
    reader: Reader = hint.__metadata__[0]  # type: ignore[attr-defined]
    return reader


def engine_options(settings: Settings) -> Options:
    """Return the engine's choices."""
    return Options(
        default_output_tokens=settings.default_output_tokens,
        hold_ttl=int(settings.hold_ttl * 1_000_000_000),
        unreported=settings.unreported,
        unknown_price=settings.unknown_price,
        budget_status=settings.budget_status,
        roots_in_ids=settings.redis_url is not None,
    )


def unknown_settings() -> list[str]:
    """Return the `PDP_` variables that mean nothing here: probably misspelt."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
