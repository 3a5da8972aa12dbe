"""Our subset of Envoy's messages is what Envoy speaks: every field, against the official ones."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from adapters.envoy.v1 import wire_pb2

_ROOT = Path(__file__).parents[3]
_PYTHON = _ROOT / ".venv-xds" / "bin" / "python"
_PROTO = _ROOT / "protos" / "adapters" / "envoy" / "v1" / "wire.proto"


def _messages(found: Any) -> list[Descriptor]:
    return [each for message in found for each in (message, *_messages(message.nested_types))]


OURS = {
    message.full_name: message
    for message in _messages(wire_pb2.DESCRIPTOR.message_types_by_name.values())
    if not message.GetOptions().map_entry
}


def _originals() -> dict[str, str]:
    """Our message names with the originals that the comments above them name."""
    named: dict[str, str] = {}
    outer = ""
    for comment, indent, name in re.findall(
        r"// ([\w.]+)\n( *)message (\w+) \{", _PROTO.read_text()
    ):
        full = f"adapters.envoy.v1.{outer}.{name}" if indent else f"adapters.envoy.v1.{name}"
        outer = outer if indent else name
        named[full] = comment
    return named


ORIGINALS = _originals()


@pytest.fixture(scope="module")
def official() -> dict[str, dict[str, Any]]:
    """The official fields, from the environment that has them."""
    if not _PYTHON.exists():
        pytest.fail("Envoy's protos are missing: run `make xds`")
    done = subprocess.run(
        [_PYTHON, Path(__file__).with_name("describe.py"), *ORIGINALS.values()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    described: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return described


def test_every_message_names_its_original() -> None:
    assert OURS.keys() == ORIGINALS.keys()


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_field_is_as_in_the_original(name: str, official: dict[str, dict[str, Any]]) -> None:
    theirs = official[ORIGINALS[name]]
    for field in OURS[name].fields:
        number, kind, repeated, message, oneof = theirs[field.name]
        assert field.number == number
        assert field.is_repeated == repeated
        if kind == FieldDescriptor.TYPE_ENUM:
            # Open enums and int32 are the same on the wire.
            assert field.type == FieldDescriptor.TYPE_INT32
        else:
            assert field.type == kind
        assert (field.containing_oneof.name if field.containing_oneof else "") in ("", oneof)
        if field.message_type and not field.message_type.GetOptions().map_entry:
            ours = field.message_type.full_name
            assert ORIGINALS.get(ours, ours) == message
