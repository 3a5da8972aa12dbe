"""The table of attempts to get around the gateway; docs/bypass-attempts.md shows it.

In `attempts.yaml`, texts become UTF-8; `<key>` and `<other>` are API keys, `<ua>` names the
request, `<hex:c0af>` are bytes, `<ab*100>` is `ab` a hundred times.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml
from msgspec import Struct

TABLE: Final = Path(__file__).with_name("attempts.yaml")
ASK: Final = '{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}],"max_tokens":50}'

_COMPRESSED: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "deflate": zlib.compress,
}


class Send(Struct, frozen=True, forbid_unknown_fields=True):
    """One request. `raw` is all of it as it stands; else the parts make it.

    `headers` come after the usual ones, those named in `without` left out. Over HTTP/2
    `:` names in `headers` are more pseudo headers, and `without` may name the usual ones.
    """

    method: str = "POST"
    target: str = "/v1/chat/completions"
    version: str = "HTTP/1.1"
    headers: list[str] = []
    without: list[str] = []
    body: str = ASK
    encoded: str = ""
    raw: str = ""


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """A request that must have arrived upstream. `absent` are headers that it may not have.

    `usage`: it is a stream that asks for its usage, once.
    """

    method: str = "POST"
    target: str = "/v1/chat/completions"
    model: str = "gpt-4o"
    key: Literal["key", "other"] = "key"
    to: Literal["provider", "admin"] = "provider"
    headers: dict[str, str] = {}
    absent: list[str] = []
    usage: bool = False


class Differs(Struct, frozen=True, forbid_unknown_fields=True):
    """What another proxy than Envoy does otherwise; None: it does not."""

    answer: str | list[str] | None = None
    seen: list[Seen] | None = None
    why: str = ""


class Attempt(Struct, frozen=True, forbid_unknown_fields=True):
    """What is tried, what must come back, and what must have arrived upstream.

    An answer is a status and the code of its error; `closed`, `reset`: there is none, the
    first of them once the client has no more to say. `held`: it is refused after the PDP has
    allowed it, so that counters come back a moment later.
    """

    name: str
    answer: str | list[str]
    why: str = ""
    http: Literal["1.1", "2"] = "1.1"
    send: Send | list[Send] = Send()
    seen: list[Seen] = []
    held: bool = False
    nginx: Differs = Differs()

    def through_nginx(self) -> "Attempt":
        """Return the attempt as it ends at NGINX."""
        other = self.nginx
        return msgspec.structs.replace(
            self,
            answer=self.answer if other.answer is None else other.answer,
            seen=self.seen if other.seen is None else other.seen,
            why=other.why or self.why,
        )

    @property
    def sends(self) -> list[Send]:
        return self.send if isinstance(self.send, list) else [self.send]

    @property
    def answers(self) -> list[str]:
        return self.answer if isinstance(self.answer, list) else [self.answer]


class Group(Struct, frozen=True, forbid_unknown_fields=True):
    group: str
    why: str
    attempts: list[Attempt]


def load_groups() -> list[Group]:
    """Return the table."""
    documents = yaml.safe_load_all(TABLE.read_text("utf-8"))
    return [msgspec.convert(document, Group) for document in documents]


_PLACE = re.compile(r"<(?:hex:(?P<hex>[0-9a-f]+)|(?P<text>[^<>]+)\*(?P<times>\d+)|(?P<name>\w+))>")


def expand(text: str, names: Mapping[str, str]) -> bytes:
    """Return the bytes that a text of the table stands for."""
    parts, last = [], 0
    for place in _PLACE.finditer(text):
        parts.append(text[last : place.start()].encode())
        parts.append(_placed(place, names))
        last = place.end()
    return b"".join([*parts, text[last:].encode()])


def _placed(place: re.Match[str], names: Mapping[str, str]) -> bytes:
    if place["hex"]:
        return bytes.fromhex(place["hex"])
    if place["times"]:
        return place["text"].encode() * int(place["times"])
    return names[place["name"]].encode()


def body_of(send: Send, names: Mapping[str, str]) -> bytes:
    """Return the body of a request, compressed or in the charset that it says."""
    body = expand(send.body, names)
    if send.encoded in _COMPRESSED:
        return _COMPRESSED[send.encoded](body)
    return body.decode().encode(send.encoded) if send.encoded else body


def http1(send: Send, names: Mapping[str, str]) -> bytes:
    """Return a request as HTTP/1.1 writes it."""
    if send.raw:
        return expand(send.raw, names)
    body = body_of(send, names)
    usual = {
        "host": "llm.test",
        "authorization": "Bearer <key>",
        "user-agent": "<ua>",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    lines = [f"{send.method} {send.target} {send.version}"]
    lines += [f"{name}: {value}" for name, value in usual.items() if name not in send.without]
    head = [expand(line, names) for line in [*lines, *send.headers]]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def http2(send: Send, names: Mapping[str, str]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the fields and the body of a request over HTTP/2."""
    usual = {
        ":method": send.method,
        ":scheme": "http",
        ":authority": "llm.test",
        ":path": send.target,
        "authorization": "Bearer <key>",
        "user-agent": "<ua>",
        "content-type": "application/json",
    }
    fields: list[Any] = [(name, value) for name, value in usual.items() if name not in send.without]
    for line in send.headers:
        name, _, value = line[1:].partition(": ")
        fields.append((line[0] + name, value))
    return [(expand(n, names), expand(v, names)) for n, v in fields], body_of(send, names)
