"""Settings: from the environment, prefix `PDP_`. The one place that says what there is."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pdp.counters.redis.address import parse_address
from pdp.errors import StartRefused
from pdp.options import Options
from pdp.secret import MIN_PEPPER
from pdp.spool.room import MAX_BYTES

PREFIX = "PDP_"


def _address(text: str) -> str:
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("use `unix:/path`")
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("use `host:port` or `unix:/path`")
    return text


def _udp_address(text: str) -> str:
    if text == "off":
        return text
    if text.startswith("unix:"):  # Of ten lines four get lost there.
        raise ValueError("use `host:port`, or `off`")
    return _address(text)


def _folder(path: object) -> object:
    """An empty name would be the working directory, whatever that is."""
    if isinstance(path, str) and not path.strip():
        raise ValueError("is empty: name a folder, or unset it")
    return path


def _file(path: object) -> object:
    """An empty name would be the working directory."""
    if isinstance(path, str) and not path.strip():
        raise ValueError("is empty: name a file, or unset it")
    return path


def _pepper(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_PEPPER:
        raise ValueError(f"use {MIN_PEPPER} characters or more")
    return secret


def _redis(url: SecretStr) -> SecretStr:
    parse_address(url.get_secret_value())
    return url


def _number(text: object) -> object:
    """A Literal of numbers takes no text, and the environment has nothing else."""
    return int(text) if isinstance(text, str) and text.isdecimal() else text


def _token(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_TOKEN:
        raise ValueError(f"use {MIN_TOKEN} characters or more, or unset it")
    return secret


MIN_TOKEN = 16
MOST_SECONDS = 30 * 86400

Address = Annotated[str, AfterValidator(_address)]
File = Annotated[Path, BeforeValidator(_file)]
Seconds = Annotated[float, Field(le=MOST_SECONDS, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Every setting, with its default. Durations in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    data_dir: Annotated[Path, BeforeValidator(_folder)] = Path("pdp-data")
    """Database, spool, pepper and sockets."""
    database_url: SecretStr | None = None
    """Of SQLite or PostgreSQL; default: SQLite in the data dir. May have a password in it."""
    redis_url: Annotated[SecretStr, AfterValidator(_redis)] | None = None
    """Counters in Redis (pdp/counters/redis/address.py has the forms); unset: in memory."""
    redis_deadline: Seconds = Field(default=0.05, ge=0.001)
    """How long a call of Redis may take before it counts as away."""
    redis_connections: int = Field(default=64, ge=1, le=10_000)
    on_backend_error: Literal["deny", "allow"] = "deny"
    """What budgets and quotas do without Redis that do not say so themselves."""
    reconcile: Literal["check", "correct"] = "check"
    """What a control plane does where counters in Redis differ from the ledger."""
    grpc_listen: Address = "127.0.0.1:9191"
    http_listen: Address = "127.0.0.1:8080"
    nginx_listen: Address = "127.0.0.1:9292"
    nginx_max_body: int = Field(default=8_388_608, ge=1024, le=134_217_728)
    """Bytes of a request's body that NGINX may pass; a longer one is refused."""
    nginx_usage_listen: Annotated[str, AfterValidator(_udp_address)] = "127.0.0.1:9292"
    """UDP: where NGINX sends its usage lines; `off`: nowhere."""
    nginx_usage_file: File | None = None
    """The file that NGINX writes its usage lines to, which is followed; unset: none."""
    nginx_usage_trust_network: bool = False
    """Take usage lines off loopback, where whoever knows a reservation can settle it."""
    ops_listen: Address = "0.0.0.0:9464"
    control_listen: Address | None = None
    """Where the planes meet; default: `control.sock` in the data dir."""
    control_url: Address | None = None
    """Where a data plane of its own finds the control plane."""
    key_pepper: Annotated[SecretStr, AfterValidator(_pepper)] | None = None
    """Keys the hashes of API keys; the same on every plane."""
    caller_token: Annotated[SecretStr, AfterValidator(_token)] | None = None
    """What callers of Check and Report, and NGINX, must present off loopback."""
    tls_cert: File | None = None
    """PEM: the gRPC port's certificate, with those that lead to its CA; unset: plaintext."""
    tls_key: File | None = None
    tls_client_ca: File | None = None
    """PEM: callers of the gRPC port must show a certificate of one of these, and no token."""
    control_tls_cert: File | None = None
    """PEM: what this plane shows the other; with the key and the CA, or none of the three."""
    control_tls_key: File | None = None
    control_tls_ca: File | None = None
    """PEM: whose certificates the other plane may show."""
    control_tls_name: Annotated[str, Field(min_length=1)] | None = None
    """The name in the control plane's certificate; default: the host of `control_url`."""
    check_tls_ca: File | None = None
    """PEM: whom `pdp check` believes, over TLS; unset: it speaks plaintext."""
    check_tls_cert: File | None = None
    """PEM: what it shows, with its key."""
    check_tls_key: File | None = None
    check_tls_name: Annotated[str, Field(min_length=1)] | None = None
    workers: int = Field(default=1, ge=1, le=64)
    max_staleness: Seconds = Field(default=600, ge=0)
    """How long cached keys are served without the control plane."""
    budget_status: Annotated[Literal[403, 402, 429], BeforeValidator(_number)] = 403
    trusted_hops: int = Field(default=0, ge=0, le=32)
    """How many proxies in front of Envoy or NGINX append to X-Forwarded-For."""
    http_trusted_hops: int = Field(default=0, ge=0, le=32)
    """How many proxies in front of the admin API append to X-Forwarded-For."""
    default_output_tokens: int = Field(default=4096, ge=0, le=10_000_000)
    estimate: Literal["normal", "strict"] = "normal"
    """Prompt tokens of a body: a quarter of its bytes, or all of them."""
    hold_ttl: Seconds = Field(default=600, ge=1)
    unreported: Literal["full", "input", "zero"] = "full"
    """What a hold is charged when nobody reports its usage."""
    unknown_price: Literal["deny", "allow"] = "deny"
    prices_file: File | None = None
    """JSON with prices that go before the built-in ones."""
    audit_retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """Entries of the audit log older than this are deleted; unset: all are kept."""
    spool_max_bytes: int = Field(default=MAX_BYTES, ge=1 << 20)
    """What the spool may take of the disk while the ledger is away (docs/durability.md)."""
    key_cache_size: int = Field(default=100_000, ge=1)
    grpc_transport: Literal["auto", "native", "grpcio"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is a file of this machine, and so the pepper may be one, too."""
        return not self.database_url or self.database_url.get_secret_value().startswith("sqlite")

    @property
    def control_address(self) -> str:
        """Where the control plane listens."""
        return self.control_listen or f"unix:{self.data_dir.absolute() / 'control.sock'}"

    @property
    def spool_dir(self) -> Path:
        """Where the data plane keeps its spool."""
        return self.data_dir / "spool"


def load_settings() -> Settings:
    """Read the environment. Raises `StartRefused` with one line that names the wrong setting."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = f"{PREFIX}{str(first['loc'][0]).upper()}"
        raise StartRefused(
            f"{name}: {_fault(first['type'], first['msg'], first.get('ctx', {}))}"
        ) from None


_FAULTS = {
    "int_parsing": "use a whole number",
    "int_from_float": "use a whole number",
    "float_parsing": "use a number",
    "finite_number": "use a number",
    "bool_parsing": "use `true` or `false`",
    "greater_than_equal": "use {ge} or more",
    "less_than_equal": "use {le} or less",
    "literal_error": "use {expected}",
    "string_too_short": "is empty: unset it, or give it a value",
}


def _fault(kind: str, message: str, context: dict[str, Any]) -> str:
    """Return what is wrong, and what to do, in our words where we have some."""
    if kind in _FAULTS:
        return _FAULTS[kind].format(**context).replace("'", "`")
    message = message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


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
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
