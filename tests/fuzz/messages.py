"""Changes of any protobuf message, by its descriptor, and of its bytes."""

from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from tests.fuzz.bodies import MODELS, ODD_TEXTS
from tests.fuzz.mutate import mutate_bytes, random_bytes

_INTEGERS = {
    Field.CPPTYPE_INT32: (0, 1, -1, 200, 404, 2**31 - 1, -(2**31)),
    Field.CPPTYPE_UINT32: (0, 1, 200, 500, 999, 2**32 - 1),
    Field.CPPTYPE_INT64: (0, 1, -1, 7, 4096, 10**9, 10**9 + 1, 2**53, 2**63 - 1, -(2**63)),
    Field.CPPTYPE_UINT64: (0, 1, 100, 2**53, 2**64 - 1),
    Field.CPPTYPE_ENUM: (0, 1, 2, 7, 2**31 - 1),
}
_DOUBLES = (0.0, -0.0, 1.0, 11.5, -1.0, 1e9, 1e9 + 1, 1e308, 5e-324, float("nan"), float("inf"))
_TEXTS = (
    *ODD_TEXTS,
    *MODELS,
    "chat:completions",
    "models:list",
    "success",
    "cancelled",
    "provider",
    "none",
    "0.001",
    "1e-7",
    "1e99",
    "9000001",
    "-1",
    "NaN",
    "root",
    "open",
    "203.0.113.7",
    "::ffff:203.0.113.7",
    "[2001:db8::1]:443",
    "999.1.1.1",
    "r1",
    "x" * 600,
    "y" * 17_000,
    "[]",
    '["res_test-100","open","r1",1,1,false]',
)
_WIRE_TOKENS = (
    b"\x0a\x00",
    b"\x12\x00",
    b"\x1a\x80\x80\x80\x80\x08",
    b"\xff" * 10,
    b"\x80" * 9 + b"\x01",
    b"\x0b",
    b"\x0c",
    b"\x0a\x05" * 120,
    b"\xc3\x28",
    b"\xfa\xff\xff\xff\x0f\x00",
)


def on_the_wire(rng: Random, message: Message) -> bytes:
    """Return a message as its sender would write it, sometimes changed, sometimes anything."""
    kind = rng.random()
    if kind < 0.02:
        return random_bytes(rng, 200)
    if kind < 0.3:
        for _ in range(rng.choice((1, 1, 2, 3))):
            change(rng, message)
    data = message.SerializeToString()
    return mutate_bytes(rng, data, _WIRE_TOKENS) if kind > 0.9 else data


def change(rng: Random, message: Message) -> None:
    """Change one field of a message or of one inside it."""
    if rng.random() < 0.75:
        inner = [each for each in _children(message) if each.DESCRIPTOR.fields]
        if inner:
            change(rng, rng.choice(inner))
            return
    fields = message.DESCRIPTOR.fields
    if fields:
        _change_field(rng, message, rng.choice(fields))


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _children(message: Message) -> list[Any]:
    found: list[Any] = []
    for field, value in message.ListFields():
        if field.cpp_type != Field.CPPTYPE_MESSAGE:
            continue
        if _is_map(field):
            if isinstance(next(iter(value.values())), Message):
                found += value.values()
        else:
            found += value if field.is_repeated else [value]
    return found


def _change_field(rng: Random, message: Message, field: Any) -> None:
    if rng.random() < 0.2:
        message.ClearField(field.name)
        return
    value = getattr(message, field.name)
    if _is_map(field):
        _change_map(rng, value, field.message_type.fields_by_name["value"])
    elif field.cpp_type == Field.CPPTYPE_MESSAGE:
        _change_message(rng, value, repeated=field.is_repeated)
    elif field.is_repeated:
        value.append(odd_scalar(rng, field))
    else:
        setattr(message, field.name, odd_scalar(rng, field))


def _change_map(rng: Random, value: Any, kind: Any) -> None:
    keys = list(value)
    key = rng.choice(keys) if keys and rng.random() < 0.7 else rng.choice(_TEXTS)
    if kind.cpp_type == Field.CPPTYPE_MESSAGE:
        value[key].SetInParent()
    elif keys and rng.random() < 0.4:
        value[key] = value[rng.choice(keys)]
    else:
        value[key] = odd_scalar(rng, kind)


def _change_message(rng: Random, value: Any, *, repeated: bool) -> None:
    if not repeated:
        value.SetInParent()
    elif value and rng.random() < 0.5:
        value.add().CopyFrom(rng.choice(value))
    else:
        value.add()


def odd_scalar(rng: Random, field: Any) -> Any:
    """Return a value that a field can carry and that its reader may not expect."""
    kind = field.cpp_type
    if kind in _INTEGERS:
        return rng.choice(_INTEGERS[kind])
    if kind == Field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind in (Field.CPPTYPE_DOUBLE, Field.CPPTYPE_FLOAT):
        return rng.choice(_DOUBLES)
    text = rng.choice(_TEXTS)
    return text.encode() if field.type == Field.TYPE_BYTES else text
