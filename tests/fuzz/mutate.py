"""Mutations of bytes and of JSON. The same `Random` gives the same input.

JSON is mutated as a tree whose objects are lists of members, so that a name can
come twice, and is written with the freedom that JSON leaves: spaces, escapes.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from msgspec import Struct

from tests.fuzz.bodies import DECISIVE, MODELS, ODD_TEXTS, ODD_VALUES, TOKENS


class Members(Struct):
    """A JSON object as it is written."""

    of: list[tuple[str, Any]]


# -- Bytes


def mutate_bytes(rng: Random, data: bytes, tokens: tuple[bytes, ...] = TOKENS) -> bytes:
    """Return the data with one to four small changes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_BYTE_CHANGES)(rng, found, tokens)
    return bytes(found)


def random_bytes(rng: Random, most: int) -> bytes:
    return rng.randbytes(rng.randrange(most))


def _flip(rng: Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng: Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _insert(rng: Random, data: bytearray, tokens: tuple[bytes, ...]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(tokens) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 5))


def _span(rng: Random, data: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64)))


def _cut(rng: Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    start, end = _span(rng, data)
    del data[start:end]


def _repeat(rng: Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    start, end = _span(rng, data)
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[start:end]


def _truncate(rng: Random, data: bytearray, _: tuple[bytes, ...]) -> None:
    del data[rng.randrange(len(data) + 1) :]


_BYTE_CHANGES: tuple[Callable[[Random, bytearray, tuple[bytes, ...]], None], ...] = (
    _flip,
    _overwrite,
    _insert,
    _insert,
    _cut,
    _repeat,
    _truncate,
)


# -- JSON


def tree_of(value: Any) -> Any:
    """Return plain data with its objects as `Members`."""
    if isinstance(value, dict):
        return Members([(name, tree_of(each)) for name, each in value.items()])
    if isinstance(value, list):
        return [tree_of(each) for each in value]
    return value


def mutate_tree(rng: Random, tree: Any) -> Any:
    """Change a tree in place, its top most of all; return it, or what took its place."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        target = tree if rng.random() < 0.8 else _inner(rng, tree)
        if isinstance(target, Members):
            rng.choice(_TREE_CHANGES)(rng, target)
    if rng.random() < 0.03:
        return rng.choice(([tree], tree.of and tree.of[0][1], odd_value(rng)))
    return tree


def _inner(rng: Random, tree: Any) -> Any:
    """Return some part of a tree, not too deep in it."""
    for _ in range(20):
        children = [each for _, each in tree.of] if isinstance(tree, Members) else tree
        inside = [each for each in children if isinstance(each, Members | list) and each != []]
        if not inside or (isinstance(tree, Members) and rng.random() < 0.3):
            break
        tree = rng.choice(inside)
    return tree


def _set(rng: Random, target: Members) -> None:
    name = rng.choice(DECISIVE)
    target.of = [each for each in target.of if each[0] != name]
    _place(rng, target, (name, odd_value(rng)))


def _twice(rng: Random, target: Members) -> None:
    if target.of:
        name, value = rng.choice(target.of)
        _place(rng, target, (name, value if rng.random() < 0.2 else odd_value(rng)))


def _lookalike(rng: Random, target: Members) -> None:
    name = rng.choice(DECISIVE)
    spelt = rng.choice(SPELLINGS)(name)
    _place(rng, target, (spelt, odd_value(rng)))


def _drop(rng: Random, target: Members) -> None:
    if target.of:
        target.of.pop(rng.randrange(len(target.of)))


def _shuffle(rng: Random, target: Members) -> None:
    rng.shuffle(target.of)


def _replace(rng: Random, target: Members) -> None:
    if target.of:
        at = rng.randrange(len(target.of))
        target.of[at] = (target.of[at][0], odd_value(rng))


def _deepen(rng: Random, target: Members) -> None:
    value: Any = 1
    for _ in range(rng.choice((10, 100, 1200))):
        value = [value]
    _place(rng, target, ("deep", value))


def _crowd(rng: Random, target: Members) -> None:
    target.of += [(f"x{n}", n) for n in range(rng.choice((10, 998, 1001)))]


_TREE_CHANGES: tuple[Callable[[Random, Members], None], ...] = (
    *(_set,) * 6,
    *(_twice,) * 6,
    *(_lookalike,) * 6,
    *(_drop,) * 2,
    *(_shuffle,) * 2,
    *(_replace,) * 4,
    _deepen,
    _crowd,
)

SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.title,
    lambda name: name + " ",
    lambda name: " " + name,
    lambda name: name + "\x00",
    lambda name: name.replace("s", "\u017f"),
    lambda name: name.replace("k", "\u212a"),
    lambda name: name.replace("e", "\u0435"),
    lambda name: name[:1] + "\u200b" + name[1:],
    lambda name: name.replace("_", "-"),
    lambda name: name[:-1] + name[-1].upper(),
)


def _place(rng: Random, target: Members, member: tuple[str, Any]) -> None:
    target.of.insert(rng.randrange(len(target.of) + 1), member)


def odd_value(rng: Random) -> Any:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(MODELS)
    if kind < 0.55:
        return rng.choice(ODD_TEXTS)
    return tree_of(rng.choice(ODD_VALUES))


def write(rng: Random, tree: Any, freely: float) -> bytes:
    """Return a tree as JSON; `freely` is how often something is written unusually."""
    parts: list[str] = []
    _write(rng, tree, freely, parts)
    return "".join(parts).encode()


def _write(rng: Random, tree: Any, freely: float, parts: list[str]) -> None:
    if isinstance(tree, Members):
        parts.append("{")
        for place, (name, value) in enumerate(tree.of):
            parts.append("," * (place > 0) + _space(rng, freely) + _text(rng, name, freely) + ":")
            parts.append(_space(rng, freely))
            _write(rng, value, freely, parts)
        parts.append(_space(rng, freely) + "}")
    elif isinstance(tree, list):
        _write_list(rng, tree, freely, parts)
    elif isinstance(tree, str):
        parts.append(_text(rng, tree, freely))
    else:
        parts.append(json.dumps(tree))


def _write_list(rng: Random, tree: list[Any], freely: float, parts: list[str]) -> None:
    depth = 1
    while len(tree) == 1 and isinstance(tree[0], list):  # Deeper than Python may call.
        tree, depth = tree[0], depth + 1
    parts.append("[" * depth)
    for place, each in enumerate(tree):
        parts.append("," * (place > 0))
        _write(rng, each, freely, parts)
    parts.append("]" * depth)


def _space(rng: Random, freely: float) -> str:
    return rng.choice((" ", "\n", "\t", "\r\n", "  ")) if rng.random() < freely else ""


def _text(rng: Random, text: str, freely: float) -> str:
    if not text or rng.random() >= freely:
        return json.dumps(text, ensure_ascii=rng.random() < freely)
    at = rng.randrange(len(text))
    if ord(text[at]) > 0xFFFF:
        return json.dumps(text)
    escape = f"\\u{ord(text[at]):04{rng.choice('xX')}}"
    return json.dumps(text[:at])[:-1] + escape + json.dumps(text[at + 1 :])[1:]
