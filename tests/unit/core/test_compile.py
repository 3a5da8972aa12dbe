"""Compiled keys share their ancestors, and never one that could not be read whole."""

import pytest

from pdp.compile import Compiler
from pdp.errors import InvalidDocument
from pdp.model import Resolved
from tests.wire.harness import record


def test_a_key_that_cannot_be_read_is_refused_each_time_while_its_error_lives() -> None:
    broken = record("a", policy={"version": "2999"})
    resolved = Resolved(
        key_id="a", parents=("a",), granters=("a",), records=(broken,), timezone="UTC", revision=1
    )
    compiler = Compiler()
    errors = []
    for _ in range(3):
        with pytest.raises(InvalidDocument) as refused:
            compiler.compile(resolved)
        errors.append(refused.value)  # Its traceback holds what was compiled so far.
    assert len({str(error) for error in errors}) == 1
