"""Documents as people write them: YAML that means what the same JSON would.

Scalars are read as YAML 1.2 reads them: `2024-01-01`, `22:00` and `no` are texts. Tags,
merge keys and names that are said twice are refused, for the reason that `body` has.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import yaml

from pdp.control.body import decode_body
from pdp.errors import InvalidDocument, Problem
from pdp.problems import Problems
from pdp.wording import printable, shown

MOST_BYTES: Final = 1024 * 1024
_MOST_VALUES: Final = 200_000
"""Of a file, aliases written out: a few lines of them can stand for more than any memory."""

_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Knows the scalars of the YAML 1.2 core schema that JSON has, too."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # As the base class has it.


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        [*"-+.0123456789"],
    ),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})\\Z"), _first)


def decode_documents(data: bytes, name: str) -> list[Any]:
    """Return the documents of a file: JSON has one, YAML any number, divided by `---`.

    `name` tells which it is, where it ends so, and stands in the messages of
    `InvalidDocument`, which is raised with every fault that can be told.
    """
    if len(data) > MOST_BYTES:
        raise InvalidDocument([Problem(name, f"more than {MOST_BYTES // 2**20} MiB: divide it")])
    if name.endswith(".json"):
        return [decode_body(data, name)]
    if not name.endswith((".yaml", ".yml")) and data.lstrip()[:1] in (b"{", b"["):
        try:
            return [decode_body(data, name)]
        except InvalidDocument as error:
            # Flow style of YAML begins like JSON; what JSON alone can say is an error of it.
            if not _is_no_json(error, name):
                raise
    return _decode_yaml(data, name)


def _is_no_json(error: InvalidDocument, name: str) -> bool:
    return [problem.location for problem in error.problems] == [name]


def _decode_yaml(data: bytes, name: str) -> list[Any]:
    try:
        nodes = list(yaml.compose_all(data.decode(), _Loader))
        problems = Problems()
        reader = _Reader(problems)
        found = [reader.read(node, "", ()) for node in nodes if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        message = f"not YAML: {error.problem or error.context or 'it cannot be read'}"
        raise InvalidDocument([Problem(where, _printable(message))]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).partition("\n")[0]
        raise InvalidDocument([Problem(name, _printable(f"not YAML: {first}"))]) from error
    except RecursionError as error:
        raise InvalidDocument([Problem(name, "nested too deeply")]) from error
    problems.raise_if_any()
    return found


def _printable(text: str) -> str:
    """Return what a library says of a document, without what could not be printed."""
    return "".join(each if each.isprintable() else "?" for each in text)


class _Reader:
    """Makes values of nodes, each alias anew."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._left = _MOST_VALUES

    def read(self, node: yaml.Node, at: str, above: Sequence[yaml.Node]) -> Any:
        """Return the value of a node; `above` are those that it is part of."""
        self._left -= 1
        if self._left < 0 or any(each is node for each in above):
            message = f"more than {_MOST_VALUES:,} values, aliases written out: say less"
            raise InvalidDocument([Problem(printable(at) or "document", message)])
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [
                self.read(each, f"{at}[{index}]", (*above, node))
                for index, each in enumerate(node.value)
            ]
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, at, above)
        return self._unknown(node, at)

    def _mapping(
        self, node: yaml.MappingNode, at: str, above: Sequence[yaml.Node]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = self._name(name_node, at)
            if name is None:
                continue
            place = f"{at}.{printable(name)}" if at else printable(name)
            if name in found:
                self._problems.add(place, "is there twice: leave one of them out")
            found[name] = self.read(value_node, place, (*above, node))
        return found

    def _name(self, node: yaml.Node, at: str) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str":
            return str(node.value)
        line = node.start_mark.line + 1
        self._problems.add(at or "document", f"has a name in line {line} that is no text: quote it")
        return None

    def _scalar(self, node: yaml.ScalarNode, at: str) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" if len(text) < 400:
                return int(text)
            case "float" if len(text) < 400:
                return float(text)
        return self._unknown(node, at)

    def _unknown(self, node: yaml.Node, at: str) -> None:
        what = f"tag {shown(node.tag)}" if not node.tag.startswith(_TAG) else "value"
        self._problems.add(at or "document", f"has a {what} that JSON has not: write it plainly")
