"""NGINX's usage lines: what `examples/nginx/pdp.js` writes, then bent in every layer."""

import json
from random import Random
from typing import Any, Final

import msgspec

from adapters.nginx.translate import MAX_LINE
from tests.fuzz.bodies import ODD_TEXTS, ODD_VALUES, TOKENS
from tests.fuzz.make import TOLD, bent_reference, some
from tests.fuzz.mutate import Members, mutate_bytes, mutate_tree, random_bytes, tree_of, write
from tests.fuzz.world import SECOND, SECRETS, World
from tests.wire.harness import NOON

RESTART: Final = 0
"""In the place of a piece of a file: whoever follows it stops, and goes on where it left."""


class Lines(msgspec.Struct, array_like=True, frozen=True):
    """What comes by one channel: datagrams, or the pieces by which a file grows."""

    by_file: bool
    pieces: list[bytes | int]


def make_usage_lines(rng: Random, world: World) -> bytes:
    """Return some lines, as `Lines` in MessagePack."""
    lines = [_line(rng, world) for _ in range(some(rng, (1, 2, 6), 0.3))]
    if rng.random() < 0.2 and world.references:
        lines.append(msgspec.json.encode(plain(rng.choice(world.references), (7, 5))))
    if rng.random() < 0.4:
        return msgspec.msgpack.encode(Lines(True, _torn(rng, lines)))
    return msgspec.msgpack.encode(Lines(False, [_datagram(rng, line) for line in lines]))


def plain(reference: str, told: tuple[int, int]) -> dict[str, Any]:
    """Return the line of a request that went well."""
    return {
        "v": 1,
        "ref": reference,
        "id": "0f9a11",
        "status": 200,
        "upstream_status": "200",
        "bytes": 400,
        "time": 0.25,
        "at": NOON // SECOND + 0.5,
        "completed": True,
        "sse": False,
        "encoded": False,
        "broken": False,
        "last": True,
        "chunks": 0,
        "told": {"prompt_tokens": told[0], "completion_tokens": told[1]},
        "model": "gpt-4o",
    }


def _line(rng: Random, world: World) -> bytes:
    kind = rng.random()
    if kind < 0.03:
        return rng.choice((b"", b"{}", random_bytes(rng, 300), b"{" + b"x" * (MAX_LINE + 1)))
    line = plain(bent_reference(rng, world), (11, 3))
    if kind < 0.6:
        _bend(rng, line)
    if kind > 0.8:
        return _freely(rng, line)
    data = json.dumps(line, separators=(",", ":")).encode()
    return mutate_bytes(rng, data, TOKENS) if kind < 0.2 else data


def _freely(rng: Random, line: dict[str, Any]) -> bytes:
    """Return a line with members that it has not, or twice, written as nobody would."""
    tree = tree_of(line)
    if rng.random() < 0.6:
        tree = mutate_tree(rng, tree)
    elif isinstance(tree, Members):
        tree.of.insert(rng.randrange(len(tree.of)), rng.choice(tree.of))
    return write(rng, tree, some(rng, (0.0, 0.05, 0.5), 0.5))


def _bend(rng: Random, line: dict[str, Any]) -> None:
    line["status"] = some(rng, (200, 0, 206, 404, 429, 499, 500, 502, 504, 1000, -1), 0.4)
    line["completed"] = rng.random() < 0.7
    line["sse"], line["chunks"] = rng.random() < 0.3, some(rng, (0, 1, 900, 2**63), 0.3)
    line["encoded"], line["broken"] = rng.random() < 0.1, rng.random() < 0.1
    told = rng.sample(TOLD, 3) if rng.random() < 0.5 else TOLD[: rng.choice((0, 1, 2))]
    line["told"] = {name: some(rng, _COUNTS, 0.2) for name in told}
    for _ in range(some(rng, (0, 1, 2), 0.6)):
        name = rng.choice(tuple(line))
        if rng.random() < 0.2:
            del line[name]
            break
        line[name] = rng.choice((*_ODD, *ODD_VALUES, *ODD_TEXTS))


_COUNTS: Final = (11, 0, 7.5, -1, 10**9, 10**9 + 1, 10**30, 1e308, "5", None, [1], True)
_ODD: Final[tuple[Any, ...]] = (
    *("502, 200", "200 : 404", "-", "²⁰⁰", ",:,", "9" * 5_000, -0.5, 1e10, 5e-324),
    *(SECRETS["open"], {"a" * 300: {}}, [[]] * 50, 2**53, -(2**63), 10**400),
)


def _datagram(rng: Random, line: bytes) -> bytes:
    head = some(rng, _HEADS, 0.1)
    data: bytes = head + line[: 65_000 - len(head)]
    return data if rng.random() < 0.97 else data[: rng.randrange(len(data) + 1)]


_HEADS: Final = (
    b"<190>Nov 28 12:00:00 pdp: ",
    b"<190>Nov 28 12:00:00 host pdp: ",
    b"<13>",
    b"<",
    b"",
    b"<190>{",
    b"<190>" + b"x" * 600,
    b"\xff<190>",
)


def _torn(rng: Random, lines: list[bytes]) -> list[bytes | int]:
    """Return the pieces of a file: lines are written in parts, and the last may not be whole."""
    data = b"\n".join(lines) + (b"\n" if rng.random() < 0.9 else b"")
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(some(rng, (1, 0, 4), 0.5)))
    pieces: list[bytes | int] = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        pieces += [data[start:end]] if rng.random() < 0.8 else [data[start:end], RESTART]
    return pieces
