"""`PDP_REDIS_URL`: one server, Sentinels that know it, or a Cluster. Pure.

    redis://[user[:password]@]host[:port][/db]          rediss:// with TLS
    unix:///path/to/socket
    redis+sentinel://[user[:password]@]host[:port],host[:port].../name[/db]
    redis+cluster://[user[:password]@]host[:port],host[:port]...

What follows a `?` are options of redis-py (`ssl_ca_certs=/path`); in the two long forms
`rediss+...` is with TLS, and `sentinel_username`, `sentinel_password` are for Sentinel itself.
"""

from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

_PORTS: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_KINDS: Final[dict[str, Literal["single", "sentinel", "cluster"]]] = {
    "redis": "single",
    "rediss": "single",
    "unix": "single",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}


class Address(Struct, frozen=True):
    """Where Redis is. `shown` is the address without credentials."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str
    hosts: tuple[tuple[str, int], ...]
    is_tls: bool = False
    username: str | None = None
    password: str | None = None
    master: str = ""
    database: int = 0
    options: dict[str, str] = {}
    shown: str = ""

    @property
    def place(self) -> str:
        """Which counters these are, however the address is written: no credentials, no options."""
        hosts = ",".join(sorted(f"{_plain(host.lower())}:{port}" for host, port in self.hosts))
        where = hosts or self.shown.partition("://")[2]
        return f"{self.kind} {where}/{self.master}{'/' if self.master else ''}{self.database}"

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"Address({self.shown!r})"


def parse_address(url: str) -> Address:
    """Read an address. Raises `ValueError` with what to write instead."""
    scheme, separator, rest = url.partition("://")
    kind = _KINDS.get(scheme)
    if kind is None or not separator:
        raise ValueError(f"use one of {', '.join(f'{each}://' for each in _KINDS)}")
    rest, _, query = rest.partition("?")
    credentials, at, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    user, _, password = credentials.partition(":")
    parts = [unquote(part) for part in path.split("/") if part] if scheme != "unix" else []
    master = parts.pop(0) if kind == "sentinel" and parts else ""
    if kind == "sentinel" and not master:
        raise ValueError("name the master: redis+sentinel://host:26379/mymaster")
    pairs = parse_qsl(query)
    options = dict(pairs)
    if len(options) < len(pairs):
        # For redis-py the first counts, for others the last.
        raise ValueError("give each option after the `?` once")
    # For redis-py `?db=` goes first, and a unix socket has no other way to say it.
    parts = [options["db"]] if "db" in options and len(parts) < 2 else parts
    if len(parts) > 1 or (parts and not parts[0].isdecimal()):
        raise ValueError("what follows the host must be the number of a database")
    if parts and kind == "cluster":
        raise ValueError("a Cluster has no numbered databases: leave the number out")
    return Address(
        kind=kind,
        url=url,
        hosts=() if scheme == "unix" else tuple(_host(each, kind) for each in hosts.split(",")),
        is_tls=scheme.startswith("rediss"),
        username=unquote(user) or None if at else None,
        password=unquote(password) or None if at else None,
        master=master,
        database=int(parts[0]) if parts else 0,
        options=options,
        shown=f"{scheme}://{place}",
    )


def _plain(host: str) -> str:
    return "127.0.0.1" if host in ("localhost", "::1") else host


def _host(text: str, kind: str) -> tuple[str, int]:
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        name, port = text, str(_PORTS[kind])
    if not name or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("use `host:port`, and a comma between several")
    return name.strip("[]"), int(port)
