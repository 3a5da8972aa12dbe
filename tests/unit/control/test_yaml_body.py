"""YAML and JSON as people write them: read as JSON would be, or refused with a place."""

import pytest

from pdp.control.yaml_body import MOST_BYTES, decode_documents
from pdp.errors import InvalidDocument


def places(data: bytes, name: str = "x.yaml") -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        decode_documents(data, name)
    for problem in caught.value.problems:
        assert problem.message.isprintable()
    return [problem.location for problem in caught.value.problems]


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = b"""
    [2024-01-01, 22:00, no, on, 010, 1_000, 0x10, .nan, null, ~, true, 7, -7, 1.5, 1e3, "1", '', <<]
    """
    (found,) = decode_documents(text, "x.yaml")
    texts = ["2024-01-01", "22:00", "no", "on", "010", "1_000", "0x10", ".nan"]
    assert found == [*texts, None, None, True, 7, -7, 1.5, 1000.0, "1", "", "<<"]
    assert [type(each) for each in found[11:15]] == [int, int, float, float]


def test_documents_are_divided_and_aliases_written_out() -> None:
    text = b"a: &x {b: [1]}\nc: *x\n---\n- 2\n"
    assert decode_documents(text, "x.yml") == [{"a": {"b": [1]}, "c": {"b": [1]}}, [2]]


@pytest.mark.parametrize("name", ["-", "policy", "x.json"])
def test_json_is_json(name: str) -> None:
    assert decode_documents(b'\t{"a":\t[1, "\\u00e9"]}', name) == [{"a": [1, "é"]}]


def test_flow_style_that_is_no_json_is_yaml() -> None:
    assert decode_documents(b"{a: 22:00}", "-") == [{"a": "22:00"}]


@pytest.mark.parametrize("name", ["x.yaml", "-", "x.json"])
def test_a_name_that_is_there_twice_is_refused(name: str) -> None:
    assert places(b'{"a": {"b": 1, "b": 2}}', name) == ["a.b"]


def test_every_fault_is_told() -> None:
    text = b"a: !!python/object:os.system x\nb: {c: !x 1, c: 2}\n1: 2\nd: !!binary aGk=\n"
    assert places(text) == ["a", "b.c", "b.c", "document", "d"]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: [b\n", "x.yaml:2:1"),
        (b"a: b: c\n", "x.yaml:1:5"),
        (b"a: *b\n", "x.yaml:1:4"),
        (b"\xff", "x.yaml"),
        (b"a: \x00", "x.yaml"),
        (b"[" * 600, "x.yaml"),
        (b"a: &a [*a]", "a[0]"),
        (b"- " * 100_000, "x.yaml"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(data: bytes, place: str) -> None:
    assert places(data) == [place]


def test_few_lines_do_not_become_many_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (place,) = places("\n".join(lines).encode())
    assert place.startswith("a")


def test_a_file_is_bounded() -> None:
    assert places(b" " * (MOST_BYTES + 1)) == ["x.yaml"]
