"""Settings as they are read from the environment."""

from pathlib import Path

import msgspec
import pytest

from pdp.errors import StartRefused
from pdp.hidden import Hidden
from pdp.settings import PREFIX, Settings, read_settings, unknown_settings

_PEPPER = "the pepper of this test, and of no other"
_INTEGER = "use a whole number"
_NUMBER = "use a number"
_ADDRESS = "use `host:port` or `unix:/path`"


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_each_has_a_reader_that_takes_its_default(field: str) -> None:
    default = getattr(Settings(), field)
    text = "unix:/somewhere/long/enough/to/be/a/secret" if default is None else str(default)
    if field == "redis_url":
        text = "redis://redis.example"
    elif field == "nginx_usage_listen":
        text = "off"
    elif default is None and field.endswith("_days"):
        text = "7"
    found = getattr(read_settings({f"{PREFIX}{field.upper()}": text}), field)
    shown = found.reveal() if isinstance(found, Hidden) else str(found)
    assert found == default if default is not None else shown == text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("WORKERS", " 2 ", 2),
        ("WORKERS", "1_0", 10),
        ("WORKERS", "+2", 2),
        ("WORKERS", "2.0", 2),
        ("WORKERS", "64", 64),
        ("MAX_STALENESS", "0", 0.0),
        ("MAX_STALENESS", " 1e1", 10.0),
        ("HOLD_TTL", "0.5e1", 5.0),
        ("BUDGET_STATUS", "429", 429),
        ("LOG_LEVEL", "debug", "debug"),
        ("NGINX_USAGE_TRUST_NETWORK", "Yes", True),
        ("NGINX_USAGE_TRUST_NETWORK", "off", False),
        ("NGINX_USAGE_LISTEN", "off", "off"),
        ("DATA_DIR", "~/x", Path("~/x")),
        ("GRPC_LISTEN", "[::1]:0", "[::1]:0"),
        ("KEY_PEPPER", _PEPPER, Hidden(_PEPPER)),
        ("DATABASE_URL", "", Hidden("")),
    ],
)
def test_what_is_taken(name: str, text: str, value: object) -> None:
    found = getattr(read_settings({f"PDP_{name}": text}), name.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("WORKERS", "many", _INTEGER),
        ("WORKERS", "", _INTEGER),
        ("WORKERS", "2.5", _INTEGER),
        ("WORKERS", "1__0", _INTEGER),
        ("WORKERS", "٣", _INTEGER),
        ("WORKERS", "0", "use 1 or more"),
        ("WORKERS", "65", "use 64 or less"),
        ("MAX_STALENESS", "x", _NUMBER),
        ("MAX_STALENESS", "٣", _NUMBER),
        ("MAX_STALENESS", "-1", "use 0 or more"),
        ("MAX_STALENESS", "3e6", "use 2592000 or less"),
        ("MAX_STALENESS", "nan", _NUMBER),
        ("HOLD_TTL", "1e400", _NUMBER),
        ("BUDGET_STATUS", "500", "use 403, 402 or 429"),
        ("UNREPORTED", "half", "use `full`, `input` or `zero`"),
        ("NGINX_USAGE_TRUST_NETWORK", "2", "use `true` or `false`"),
        ("CONTROL_TLS_NAME", "", "is empty: unset it, or give it a value"),
        ("DATA_DIR", " ", "is empty: name a folder, or unset it"),
        ("TLS_CERT", "", "is empty: name a file, or unset it"),
        ("GRPC_LISTEN", "nowhere", _ADDRESS),
        ("GRPC_LISTEN", "127.0.0.1:65536", _ADDRESS),
        ("GRPC_LISTEN", "unix:", "use `unix:/path`"),
        ("NGINX_USAGE_LISTEN", "unix:/x", "use `host:port`, or `off`"),
        ("REDIS_URL", "http://x", "use one of redis://, "),
        ("KEY_PEPPER", "hush", "use 32 characters or more"),
        ("CALLER_TOKEN", "hush", "use 16 characters or more, or unset it"),
        ("CALLER_TOKEN", "hush" * 4 + "\n", "no header can carry it: use ASCII without a line b"),
        ("CALLER_TOKEN", " " + "hush" * 4, "no header can carry it"),
        ("CALLER_TOKEN", "hush" * 4 + "é", "no header can carry it"),
    ],
)
def test_what_is_refused_and_how(name: str, text: str, message: str) -> None:
    with pytest.raises(StartRefused) as refused:
        read_settings({f"PDP_{name}": text})
    assert str(refused.value).startswith(f"PDP_{name}: {message}")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("nginx", "usage", "address"),
    [
        ("127.0.0.1:9292", None, "127.0.0.1:9292"),
        ("127.0.0.1:7001", None, "127.0.0.1:7001"),
        ("0.0.0.0:7001", None, "127.0.0.1:7001"),
        ("[::1]:7001", None, "127.0.0.1:7001"),
        ("unix:/run/nginx.sock", None, "127.0.0.1:9292"),
        ("127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7002"),
        ("127.0.0.1:7001", "off", "off"),
    ],
)
def test_usage_lines_come_where_nginx_asks_unless_it_is_said(
    nginx: str, usage: str | None, address: str
) -> None:
    assert Settings(nginx_listen=nginx, nginx_usage_listen=usage).usage_address == address


def test_other_names_are_no_settings() -> None:
    assert read_settings({"WORKERS": "x", "PDP_WORKER": "x"}).workers == 1


def test_the_misspelt_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDP_WORKER", "2")
    monkeypatch.setenv("PDP_WORKERS", "2")
    assert "PDP_WORKER" in unknown_settings()
    assert "PDP_WORKERS" not in unknown_settings()


def test_a_secret_is_not_shown() -> None:
    url = "postgresql://pdp:hush@db.example/pdp"
    settings = read_settings({"PDP_DATABASE_URL": url, "PDP_KEY_PEPPER": "hush" * 8})
    assert settings.database_url is not None
    assert settings.database_url.reveal() == url
    assert "hush" not in f"{settings} {settings!r} {settings.key_pepper}"
    assert hash(settings.database_url) == hash(Hidden(url))
    with pytest.raises(TypeError):
        msgspec.json.encode(settings.database_url)
